"""A door before a Hub that fails as networks do, for a seeded share of the requests, and counts what it let through.

Which request fails, and how, follows from the seed, the method, the path (random ids in it do not count) and how often that was asked
before: the same for every run and however requests interleave.
"""

import asyncio
import random
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

_BLOCK_BYTES = 1 << 16
_LONGEST_HEAD_BYTES = 1 << 17
_RANDOM_ID = re.compile(r"(?<=/)(?:[0-9a-f]{24}|[0-9a-f]{40})(?=/|$)")
_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets


class Fault(StrEnum):
    """What may happen to a request."""

    UNAVAILABLE = "answers 503"
    TOO_MANY = "answers 429 with Retry-After"
    RESET_REQUEST = "resets the connection in the middle of the request"
    RESET_ANSWER = "resets the connection in the middle of the answer"
    TIME_OUT = "never answers, and hangs up after a while"
    DROPPED_ANSWER = "lets the Hub do it and drops the answer"
    SLOW = "answers slowly"
    TWICE = "asks the Hub twice, and passes on one of the two answers"
    SILENT = "never answers, and never hangs up"


BY_CHANCE = tuple(fault for fault in Fault if fault is not Fault.SILENT)  # which costs the whole time-out of the client


@dataclass(frozen=True)
class Passage:
    """One request that came to the door: with random ids as `*`, and what the door did to it."""

    method: str
    path: str
    fault: Fault | None


@dataclass
class FaultyDoor:
    """The door: its address and what went through it. `share` may be changed at any time; 0 is a good network."""

    target: str
    seed: int = 0
    share: float = 0.3
    faults: Sequence[Fault] = BY_CHANCE
    only: str = ""  # a pattern for "METHOD /path": no other request fails
    retry_after_s: int = 1
    timeout_s: float = 0.3
    slow_s: float = 0.3
    url: str = ""
    passages: list[Passage] = field(default_factory=list)
    body_bytes: Counter[str] = field(default_factory=Counter)  # by "METHOD /path", whatever became of the answer
    _asked: Counter[str] = field(default_factory=Counter)

    def done(self) -> Counter[Fault]:
        """How often the door did what."""
        return Counter(passage.fault for passage in self.passages if passage.fault)

    def passed_bytes(self, pattern: str) -> int:
        """Body bytes that went on to the Hub in requests whose "METHOD /path" the pattern finds."""
        return sum(count for place, count in self.body_bytes.items() if re.search(pattern, place))

    def judge(self, method: str, path: str) -> Fault | None:
        """What happens to the next request of that kind."""
        place = f"{method} {path}"
        self._asked[place] += 1
        chance = random.Random(f"{self.seed} {place} {self._asked[place]}")
        fails = chance.random() < self.share and re.search(self.only, place)
        fault = chance.choice(self.faults) if fails else None
        self.passages.append(Passage(method, path, fault))
        return fault


@contextmanager
def faulty_door(target: str, seed: int, share: float = 0.3, **settings: object) -> Iterator[FaultyDoor]:
    """Open a door to the Hub at `target` on a free loopback port; `settings` are those of FaultyDoor."""
    door = FaultyDoor(target, seed, share, **settings)  # type: ignore[arg-type]
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(
        asyncio.start_server(lambda r, w: _serve(door, r, w), "127.0.0.1", limit=_LONGEST_HEAD_BYTES)
    )
    door.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    thread = threading.Thread(target=loop.run_forever, name="faulty-door", daemon=True)
    thread.start()
    try:
        yield door
    finally:
        asyncio.run_coroutine_threadsafe(_shut(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _shut(server: asyncio.Server) -> None:
    server.close()
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def _serve(door: FaultyDoor, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request; the connection ends with it."""
    with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
        head = await reader.readuntil(b"\r\n\r\n")
        method, raw_path = head.split(b" ", 2)[:2]
        path = _RANDOM_ID.sub("*", raw_path.decode().partition("?")[0])
        fault = door.judge(method.decode(), path)
        await _treat(door, fault, f"{method.decode()} {path}", head, reader, writer)
    if not writer.is_closing():
        writer.close()


async def _treat(
    door: FaultyDoor, fault: Fault | None, place: str, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    body = _body(head, reader)
    if fault is Fault.TIME_OUT:
        await asyncio.sleep(door.timeout_s)
        _reset(writer)
    elif fault is Fault.SILENT:
        while await reader.read(_BLOCK_BYTES):
            pass
    elif fault is Fault.TWICE:
        await _ask_twice(door, place, head, body, writer)
    elif fault in (Fault.UNAVAILABLE, Fault.TOO_MANY):
        async for _ in body:
            pass
        status = b"503 Service Unavailable" if fault is Fault.UNAVAILABLE else b"429 Too Many Requests"
        wait = f"Retry-After: {door.retry_after_s}\r\n" if fault is Fault.TOO_MANY else ""
        writer.write(b"HTTP/1.1 " + status + b"\r\n" + wait.encode() + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
    else:
        await _forward(door, fault, place, head, body, writer)


async def _forward(
    door: FaultyDoor, fault: Fault | None, place: str, head: bytes, body: AsyncIterator[bytes], writer: asyncio.StreamWriter
) -> None:
    target = urlsplit(door.target)
    answers, asks = await asyncio.open_connection(target.hostname, target.port)
    try:
        most = _announced(head) // 2 if fault is Fault.RESET_REQUEST else None
        asks.write(head[: len(head) // 2] if most == 0 and not _is_chunked(head) else _closing(head))
        sent = 0
        async for block in body:
            if most is not None and sent + len(block) > most:
                block = block[: most - sent]
            asks.write(block)
            await asks.drain()
            sent += len(block)
            door.body_bytes[place] += len(block)
            if most is not None and sent >= most:
                break
        if fault is Fault.RESET_REQUEST:
            _reset(asks)
            _reset(writer)
            return
        await _answer(door, fault, answers, writer)
    finally:
        asks.close()


async def _ask_twice(door: FaultyDoor, place: str, head: bytes, body: AsyncIterator[bytes], writer: asyncio.StreamWriter) -> None:
    """One after the other; which of the two answers the client hears follows from the seed."""
    heard = random.Random(f"{door.seed} {place} {door._asked[place]} heard").randrange(2)
    blocks = [block async for block in body]
    answers = [await _asked_again(door, place, head, blocks) for _ in range(2)]
    writer.write(answers[heard])
    await writer.drain()


async def _asked_again(door: FaultyDoor, place: str, head: bytes, blocks: list[bytes]) -> bytes:
    target = urlsplit(door.target)
    answers, asks = await asyncio.open_connection(target.hostname, target.port)
    try:
        asks.writelines([_closing(head), *blocks])
        await asks.drain()
        door.body_bytes[place] += sum(map(len, blocks))
        return await answers.read()
    finally:
        asks.close()


async def _answer(door: FaultyDoor, fault: Fault | None, answers: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await answers.readuntil(b"\r\n\r\n")
    if fault is Fault.DROPPED_ANSWER:
        while await answers.read(_BLOCK_BYTES):
            pass
        _reset(writer)
        return
    left = _announced(head) // 2 if fault is Fault.RESET_ANSWER else None
    if left == 0:  # nothing to cut in half: the head is
        head = head[: len(head) // 2]
    if fault is Fault.SLOW:
        await asyncio.sleep(door.slow_s)
    writer.write(head)
    while left != 0 and (block := await answers.read(_BLOCK_BYTES if left is None else min(left, _BLOCK_BYTES))):
        writer.write(block)
        await writer.drain()
        left = None if left is None else left - len(block)
    if left is not None:
        await writer.drain()
        _reset(writer)


async def _body(head: bytes, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The blocks of a request's body as they travel: with the marks of chunks, if it is sent in chunks."""
    if _is_chunked(head):
        while True:
            mark = await reader.readuntil(b"\r\n")
            size = int(mark.split(b";")[0], 16)
            yield mark + await reader.readexactly(size + 2)
            if size == 0:
                return
    left = _announced(head)
    while left and (block := await reader.read(min(left, _BLOCK_BYTES))):
        left -= len(block)
        yield block


def _is_chunked(head: bytes) -> bool:
    return re.search(rb"\r\ntransfer-encoding: *chunked\r\n", head, re.IGNORECASE) is not None


def _announced(head: bytes) -> int:
    found = re.search(rb"\r\ncontent-length: *(\d+)\r\n", head, re.IGNORECASE)
    return int(found[1]) if found else 0


def _closing(head: bytes) -> bytes:
    """The same request, after which the Hub hangs up: so its answer ends where the stream ends."""
    kept = re.sub(rb"\r\nconnection:[^\r]*", b"", head, flags=re.IGNORECASE)
    return kept[:-2] + b"Connection: close\r\n\r\n"


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection so that the other side sees it break."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    writer.transport.abort()
