"""The server's memory is bounded whatever comes at once: 50 large files, 50 clients that dawdle, the longest lines of commits."""

import hashlib
import json
import random
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.builders.hubs import HubProcess, Workplace, hub_process, named, written

_CLIENTS, _WRITERS, _MOST_MB = 50, 8, 150
_LARGE_BYTES, _REGULAR_BYTES = 6_000_000, 9_990_000
_SOON_S, _POLL_S = 5.0, 0.05


def _peak_mb(process: HubProcess) -> float:
    """The most memory that the server had since it started; the kernel says kB and means 1,024 bytes."""
    assert process._process
    status = Path(f"/proc/{process._process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6


def _open(hub: Workplace, request: bytes) -> socket.socket:
    url = httpx.URL(hub.url)
    made = socket.create_connection((url.host, url.port or 80))
    made.sendall(request + b"\r\nHost: hub\r\n\r\n")
    return made


def _half_sent(hub: Workplace, repository: str, number: int) -> socket.socket:
    """An upload that stays in the middle."""
    content = random.Random(number).randbytes(_LARGE_BYTES)
    href = hub.batch(repository, hashlib.sha256(content).hexdigest(), len(content))["upload"]["href"]
    made = _open(hub, f"PUT {httpx.URL(href).raw_path.decode()} HTTP/1.1\r\nContent-Length: {len(content)}".encode())
    made.sendall(content[: _LARGE_BYTES // 2])
    return made


def _half_read(hub: Workplace, path: str) -> socket.socket:
    """A download of which nobody reads more than the beginning."""
    made = _open(hub, f"GET {path} HTTP/1.1".encode())
    assert made.recv(12) == b"HTTP/1.1 200"
    return made


def _together(clients: int, work: Callable[[int], object]) -> list[object]:
    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(work, range(clients)))


@pytest.mark.timeout(120)
def test_the_server_stays_small_whatever_its_clients_do_at_once(tmp_path: Path):
    with hub_process(tmp_path / "home") as (process, hub):
        repository, large = hub.new(), random.Random(9).randbytes(_LARGE_BYTES * 3)
        hub.commit(repository, named("w.bin", hub.put_large(repository, large))).raise_for_status()
        line = json.dumps(written("a.txt", large[:_REGULAR_BYTES]))
        held = [_half_sent(hub, repository, number) for number in range(_CLIENTS // 2)]
        held += [_half_read(hub, f"/{repository}/resolve/main/w.bin") for _ in range(_CLIENTS // 2)]
        _together(_WRITERS, lambda n: hub.commit(repository, json.loads(line.replace("a.txt", f"{n}.txt"))).raise_for_status())
        _together(_CLIENTS, lambda n: hub.put_large(repository, large[n : n + _LARGE_BYTES]))
        assert _peak_mb(process) < _MOST_MB
        for connection in held:
            connection.close()


def test_a_reader_that_goes_away_leaves_no_file_open(tmp_path: Path):
    with hub_process(tmp_path / "home") as (process, hub):
        repository = hub.new()
        hub.commit(repository, named("w.bin", hub.put_large(repository, bytes(20_000_000)))).raise_for_status()
        for _ in range(5):
            _half_read(hub, f"/{repository}/resolve/main/w.bin").close()
        assert process._process
        opened = Path(f"/proc/{process._process.pid}/fd")
        deadline = time.monotonic() + _SOON_S
        while "/files/" in "".join(str(link.resolve()) for link in opened.iterdir()):
            assert time.monotonic() < deadline, "it stays open until Python happens to look for garbage"
            time.sleep(_POLL_S)


def test_a_small_request_does_not_grow_large_in_memory(tmp_path: Path):
    with hub_process(tmp_path / "home") as (process, hub):
        repository = hub.new()
        bodies = [b'{"objects": [' + b",".join([b"{}"] * 1_300_000) + b"]}", b'{"files": ' + b"[" * 900 + b"[],[]," * 600_000]
        for body in bodies:
            for path in (f"/{repository}.git/info/lfs/objects/batch", f"/api/models/{repository}/preupload/main"):
                assert hub.http().post(path, content=body).status_code == 413
        deep = [written("/".join([f"{number}", *["a" * 38] * 99])) for number in range(1000)]
        hub.commit(repository, *deep).raise_for_status()
        assert _peak_mb(process) < _MOST_MB
