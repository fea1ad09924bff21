"""What a raw connection may send: heads and bodies without end are cut off, what is no HTTP is refused, and the Hub goes on."""

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.builders.hubs import Workplace

pytestmark = pytest.mark.fast

_PATIENCE_S = 20.0
_ENDLESS_BYTES = 48 << 20
_HOST = b"Host: 127.0.0.1\r\n"


@pytest.fixture
def line(hub: Workplace) -> Iterator[socket.socket]:
    """A raw connection to the Hub, which must answer others afterwards as before."""
    address = urlsplit(hub.url)
    with socket.create_connection((address.hostname, address.port), _PATIENCE_S) as connection:
        yield connection
    assert hub.http().get("/api/whoami-v2").json()["name"] == "anna"


def _status(line: socket.socket) -> int:
    """The status of the answer; 0 when it hung up without one."""
    answer = b""
    try:
        while b"\r\n" not in answer and (block := line.recv(4096)):
            answer += block
    except ConnectionError:
        return 0
    return int(answer.split(b" ")[1]) if answer else 0


def _flood(line: socket.socket, block: bytes) -> int:
    """Send a block again and again until the Hub hangs up; bytes that it took."""
    sent = 0
    try:
        while sent < _ENDLESS_BYTES:
            line.sendall(block)
            sent += len(block)
    except (ConnectionError, TimeoutError):
        return sent
    return sent


@pytest.mark.parametrize(
    "headers",
    [
        b"X: " + b"a" * 40_000 + b"\r\n",
        b"".join(b"X%d: y\r\n" % number for number in range(6000)),
        b"Cookie: " + b"a=b; " * 9000 + b"\r\n",
    ],
    ids=["one huge", "many", "cookies"],
)
def test_oversize_headers_are_refused(line: socket.socket, headers: bytes):
    line.sendall(b"GET / HTTP/1.1\r\n" + _HOST + headers + b"\r\n")
    assert _status(line) == 431


@pytest.mark.parametrize(
    ("begun", "block"),
    [
        (b"GET / HTTP/1.1\r\n" + _HOST + b"X: ", b"a" * 65536),
        (b"GET / HTTP/1.1\r\n" + _HOST, b"X: y\r\n" * 8192),
        (b"GET /", b"a" * 65536),
        (b"", b"G" * 65536),
    ],
    ids=["one header", "many headers", "address", "method"],
)
def test_a_head_that_never_ends_is_cut_off(line: socket.socket, begun: bytes, block: bytes):
    line.sendall(begun)
    assert _flood(line, block) < _ENDLESS_BYTES
    assert _status(line) in (0, 400, 431)


def test_trailers_that_never_end_are_cut_off(line: socket.socket, hub: Workplace):
    head = b"POST /api/models/a/b/preupload/main HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    line.sendall(head)
    assert _flood(line, b"X: " + b"a" * 1000 + b"\r\n") < _ENDLESS_BYTES


def test_a_body_without_end_is_refused_and_not_collected(line: socket.socket, hub: Workplace):
    token = hub.tokens["anna"].encode()
    line.sendall(
        b"POST /api/validate-yaml HTTP/1.1\r\nAuthorization: Bearer "
        + token
        + b"\r\nTransfer-Encoding: chunked\r\n"
        + _HOST
        + b"\r\n"
    )
    block = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    line.settimeout(_PATIENCE_S)
    _flood(line, block)
    assert _status(line) in (0, 413)


def test_a_body_that_is_longer_than_any_json_is_refused(hub: Workplace):
    answer = hub.http().post("/api/validate-yaml", content=b" " * (17 << 20))
    assert answer.status_code == 413


def test_a_line_of_a_commit_that_never_ends_is_refused(hub: Workplace):
    repository = hub.new()
    endless = (b"a" * (1 << 20) for _ in range(80))
    answer = hub.http().post(f"/api/models/{repository}/commit/main", content=endless)
    assert answer.status_code == 413
    assert list((hub.hub.store.folder / "uploads").iterdir()) == []


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /\xc3\xa9 HTTP/1.1",
        b"GET /%FF HTTP/1.1",
        b"GET /a\tb HTTP/1.1",
        b"HELLO",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/9.9",
    ],
    ids=["not ASCII", "not UTF-8", "tab", "no HTTP", "TLS", "other version"],
)
def test_what_is_no_request_is_refused(line: socket.socket, request_line: bytes):
    line.sendall(request_line + b"\r\n" + _HOST + b"\r\n")
    assert _status(line) in (0, 400, 404)


@pytest.mark.parametrize(
    "header", [b"Host: [", b"Host: \xff", b"Host: a b", b"", b"Cookie: \xff=\xfe; =;;", b"Range: bytes=\xff-"]
)
def test_a_strange_header_is_no_servers_error(line: socket.socket, header: bytes):
    line.sendall(b"GET /api/models HTTP/1.1\r\n" + header + (b"\r\n" if header else b"") + b"Connection: close\r\n\r\n")
    assert _status(line) in (200, 400)


def test_an_upgrade_to_a_web_socket_is_answered_as_a_request_or_refused(line: socket.socket):
    upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    line.sendall(b"GET /api/models HTTP/1.1\r\n" + _HOST + upgrade + b"\r\n")
    assert _status(line) in (200, 400, 426)


def test_a_request_that_comes_a_byte_at_a_time_is_answered(line: socket.socket):
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in b"GET /api/models HTTP/1.1\r\n" + _HOST + b"X: " + b"y" * 200 + b"\r\n\r\n":
        line.sendall(bytes([byte]))
    assert _status(line) == 200


def test_two_requests_in_one_packet_are_both_answered(line: socket.socket):
    asked = b"GET /api/models?limit=1 HTTP/1.1\r\n" + _HOST + b"\r\n"
    line.sendall(asked + asked.replace(b"limit", b"Limit").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    answers = b""
    while block := line.recv(65536):
        answers += block
    assert answers.count(b"HTTP/1.1 200") == 2
