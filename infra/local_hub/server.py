"""The Hub as a server: in a thread of this process, for as long as a block runs."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from infra.errors import ServerError
from infra.local_hub.accounts import Accounts
from infra.local_hub.hub import Hub
from infra.local_hub.uploads import remove_stale_uploads
from infra.local_hub.web.application import LONGEST_HEAD_BYTES, Application

_START_S = 30.0
_POLL_S = 0.01
_GRACE_S = 5
_HEAD_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True)
class ServedHub:
    """A Hub that answers at an address."""

    url: str
    hub: Hub

    @property
    def accounts(self) -> Accounts:
        """Its users and tokens."""
        return self.hub.accounts


class _Protocol(HttpToolsProtocol):
    """HTTP/1.1 that hangs up on what does not end: a head, or the trailers of a body, would be collected in memory for ever."""

    _in_head = False
    _waited_bytes = 0  # since the last piece of a body, or the end of a head or a request

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head, self._waited_bytes = False, 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._waited_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._waited_bytes = 0
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        self._waited_bytes += len(data)
        super().data_received(data)
        if self._waited_bytes > LONGEST_HEAD_BYTES:
            if self._in_head:
                self.transport.write(_HEAD_TOO_LONG)
            self.transport.close()


@contextmanager
def serving(folder: Path, host: str = "127.0.0.1", port: int = 0) -> Iterator[ServedHub]:
    """Serve the Hub of a folder; port 0 takes a free one.

    Raises:
        ServerError: the port is taken, or the server does not start.

    """
    hub = Hub(folder)
    remove_stale_uploads(hub.store)
    hub.store.sweep()
    listening = _listen(host, port)
    config = uvicorn.Config(
        Application(hub),
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_GRACE_S,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), name="local-hub", daemon=True)
    thread.start()
    hub.deliveries.start()
    try:
        deadline = time.monotonic() + _START_S
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise ServerError("The local Hub did not start", "Read the lines above")
            time.sleep(_POLL_S)
        yield ServedHub(f"http://{host}:{listening.getsockname()[1]}", hub)
    finally:
        hub.deliveries.stop()
        server.should_exit = True
        thread.join()
        listening.close()


def _listen(host: str, port: int) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ServerError(
            f"Port {port} of {host} is taken: {error.strerror}", "Name another port, or stop what runs there"
        ) from error
    return listening
