"""Webhooks: what happened is told to who may know, signed, until it was heard; one bad address is its owner's matter alone."""

import hashlib
import hmac
import json
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infra.local_hub import deliveries
from tests.builders.hubs import Workplace, add_users, hub_process, served_hub, written

_HEARD_S = 40.0  # a delivery that a killed server had begun is tried again after half a minute
_SILENT_S = 0.5
_SOON_S = 5.0
_POLL_S = 0.02


@dataclass
class Heard:
    """One delivery."""

    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        """What it tells."""
        told: dict[str, Any] = json.loads(self.body)
        return told


@dataclass
class Receiver:
    """A real HTTP server that hears deliveries; the first ones get other answers than 200."""

    statuses: list[int] = field(default_factory=list)
    asked: int = 0
    heard: "queue.Queue[Heard]" = field(default_factory=queue.Queue)
    url: str = ""

    def next(self) -> Heard:
        """The next delivery that was taken."""
        return self.heard.get(timeout=_HEARD_S)


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.asked += 1
            status = receiver.statuses.pop(0) if receiver.statuses else 200
            if status == 0:
                self.connection.close()
                return
            self.send_response(status)
            self.end_headers()
            if status == 200:
                receiver.heard.put(Heard(dict(self.headers.items()), body))

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(made))
    made.url = f"http://127.0.0.1:{server.server_port}/hear"
    thread = threading.Thread(target=server.serve_forever, args=[_POLL_S], daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _HEARD_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(_POLL_S)


def _watch(hub: Workplace, receiver: Receiver, user: str = "anna", kind: str = "user", name: str = "anna", **more: Any) -> str:
    body = {"url": receiver.url, "watched": [{"type": kind, "name": name}], "domains": ["repo", "discussion"], **more}
    identity: str = hub.http(user).post("/api/settings/webhooks", json=body).raise_for_status().json()["webhook"]["id"]
    return identity


@pytest.mark.fast
def test_a_commit_is_told_with_what_it_moved_and_signed(hub: Workplace, receiver: Receiver):
    repository = hub.new()
    before = hub.api().repo_info(repository).sha
    hook = _watch(hub, receiver, kind="model", name=repository, secret="shared")
    after = hub.commit(repository, written("a.txt")).json()["commitOid"]
    heard = receiver.next()
    assert heard.headers["X-Webhook-Secret"] == "shared"
    assert heard.headers["X-Webhook-Signature"] == f"sha256={hmac.new(b'shared', heard.body, hashlib.sha256).hexdigest()}"
    assert heard.event["event"] == {"action": "update", "scope": "repo.content"}
    assert heard.event["updatedRefs"] == [{"ref": "refs/heads/main", "oldSha": before, "newSha": after}]
    assert (heard.event["repo"]["name"], heard.event["repo"]["headSha"]) == (repository, after)
    assert heard.event["webhook"] == {"id": hook, "version": 3}


@pytest.mark.fast
def test_a_delivery_is_tried_until_it_is_heard(hub: Workplace, receiver: Receiver, monkeypatch: pytest.MonkeyPatch):
    for name in ("_FIRST_WAIT_S", "_POLL_S"):
        monkeypatch.setattr(deliveries, name, 0.02)
    receiver.statuses = [503, 0, 404, 302, 500]
    repository = hub.new()
    _watch(hub, receiver, kind="model", name=repository)
    hub.api().create_tag(repository, tag="v1")
    assert receiver.next().event["updatedRefs"][0]["ref"] == "refs/tags/v1"
    assert receiver.asked == 6


@pytest.fixture
def dripping() -> Iterator[str]:
    """The address of a receiver that answers for ever, one byte of a header after the other."""
    listening = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        with suppress(OSError):  # it is closed when the test is over
            while True:
                connection = listening.accept()[0]
                with connection, suppress(OSError):
                    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                    while not time.sleep(_POLL_S):
                        connection.sendall(b"x")

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()


@pytest.mark.fast
def test_a_receiver_that_never_ends_its_answer_does_not_keep_the_others_waiting(
    tmp_path: Path, receiver: Receiver, dripping: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(deliveries, "_TIMEOUT_S", 0.2)
    with served_hub(tmp_path / "hub") as hub:
        repository = hub.new()
        slow = _watch(hub, receiver, kind="model", name=repository, url=dripping)
        hub.commit(repository, written("a.txt")).raise_for_status()
        _watch(hub, receiver, kind="model", name=repository)
        hub.commit(repository, written("b.txt")).raise_for_status()
        assert receiver.heard.get(timeout=_SOON_S).event["repo"]["name"] == repository
        _wait_until(lambda: bool(hub.hub.store.read("SELECT 1 FROM deliveries WHERE webhook = ? AND attempts > 0", [slow])))
        failures = {row["failure"] for row in hub.hub.store.read("SELECT failure FROM deliveries WHERE attempts > 0")}
    assert failures == {"TimeoutError"}


@pytest.mark.fast
def test_everything_that_happens_is_told_in_order_and_once(hub: Workplace, receiver: Receiver):
    _watch(hub, receiver, kind="user", name="anna")
    path = hub.create("told-1")
    hub.commit(path, written("a.txt")).raise_for_status()
    hub.commit(path, written("a.txt")).raise_for_status()  # nothing changes
    hub.api().create_discussion(path, title="a discussion")
    hub.api().move_repo(path, "anna/told-2")
    hub.api().delete_repo("anna/told-2")
    told = [(event["event"]["action"], event["event"]["scope"]) for event in (receiver.next().event for _ in range(5))]
    assert told == [
        ("create", "repo"), ("update", "repo.content"), ("create", "discussion"), ("move", "repo"), ("delete", "repo"),
    ]  # fmt: skip
    with pytest.raises(queue.Empty):
        receiver.heard.get(timeout=_SILENT_S)


@pytest.mark.fast
def test_strangers_are_told_nothing_of_what_is_private(hub: Workplace, receiver: Receiver):
    _watch(hub, receiver, user="bert", kind="user", name="anna")
    secret = hub.create("quiet", private=True)
    _watch(hub, receiver, user="bert", kind="model", name=secret)
    hub.commit(secret, written("a.txt")).raise_for_status()
    hub.api().create_discussion(secret, title="whispered")
    hub.api().delete_repo(secret)
    aloud = hub.new()
    hub.commit(aloud, written("a.txt", "aloud")).raise_for_status()
    assert [receiver.next().event["repo"]["name"] for _ in range(2)] == [aloud, aloud]


@pytest.mark.fast
def test_a_hook_that_is_disabled_or_gone_hears_nothing(hub: Workplace, receiver: Receiver):
    repository = hub.new()
    disabled, gone, third = (_watch(hub, receiver, kind="model", name=repository) for _ in range(3))
    hub.api().disable_webhook(disabled)
    hub.api().delete_webhook(gone)
    hub.commit(repository, written("a.txt")).raise_for_status()
    assert receiver.next().event["webhook"]["id"] == third
    with pytest.raises(queue.Empty):
        receiver.heard.get(timeout=_SILENT_S)
    hub.api().enable_webhook(disabled)
    hub.commit(repository, written("a.txt", "again")).raise_for_status()
    assert {receiver.next().event["webhook"]["id"] for _ in range(2)} == {disabled, third}


@pytest.mark.fast
def test_nobody_sees_or_ends_the_hooks_of_another(hub: Workplace, receiver: Receiver):
    hook = _watch(hub, receiver, secret="mine alone")
    stranger = hub.http("bert")
    assert "mine alone" not in stranger.get("/api/settings/webhooks").text
    assert stranger.get(f"/api/settings/webhooks/{hook}").status_code == 404
    assert stranger.delete(f"/api/settings/webhooks/{hook}").status_code == 404
    assert stranger.post(f"/api/settings/webhooks/{hook}/disable").status_code == 404
    assert stranger.post(f"/api/settings/webhooks/{hook}", json={"url": "http://127.0.0.1:9/"}).status_code == 404


_ADDRESSES = [
    *("http://[::1", "http://a:99999999/", "http://\x00/", "http://ü..x/", "http:///x", "http://xn--a/", "http://a@b@c:1:2/"),
    *(
        f"http://{'a' * 300}/",
        f"http://127.0.0.1:9/{'a' * 70_000}",
        "http://127.0.0.1:0/",
        "ftp://127.0.0.1/",
        "http://",
        "https://",
    ),
]


@pytest.mark.fast
@pytest.mark.parametrize(
    "wrong", [*({"url": address} for address in _ADDRESSES), *({"secret": secret} for secret in ("ü", "€", "a\nb", "a\x00"))]
)
def test_a_wrong_address_or_secret_is_refused_or_hurts_nobody_else(hub: Workplace, receiver: Receiver, wrong: dict[str, str]):
    repository = hub.new()
    watched = [{"type": "model", "name": repository}]
    hub.http("bert").post("/api/settings/webhooks", json={"url": "http://127.0.0.1:9/", "watched": watched} | wrong)
    _watch(hub, receiver, kind="model", name=repository)
    for text in ("first", "second"):
        hub.commit(repository, written("a.txt", text)).raise_for_status()
        assert receiver.next().event["repo"]["name"] == repository


def test_what_was_not_heard_is_told_by_the_next_server(tmp_path: Path, receiver: Receiver):
    receiver.statuses = [503] * 1000
    with hub_process(tmp_path / "home") as (process, hub):
        repository = hub.new()
        _watch(hub, receiver, kind="model", name=repository)
        after = hub.commit(repository, written("a.txt")).json()["commitOid"]
        _wait_until(lambda: bool(hub.hub.store.read("SELECT 1 FROM deliveries WHERE attempts > 0")))
        process.kill()
        receiver.statuses = []
        process.start()
        assert receiver.next().event["updatedRefs"][0]["newSha"] == after


def test_what_happened_while_nobody_could_be_told_is_told_after_the_start(tmp_path: Path, receiver: Receiver):
    receiver.statuses = [0]
    with served_hub(tmp_path / "hub") as hub:
        repository = hub.new()
        _watch(hub, receiver, kind="model", name=repository)
        hub.commit(repository, written("a.txt")).raise_for_status()
    with served_hub(tmp_path / "hub") as again:
        assert receiver.next().event["repo"]["name"] == repository
        assert add_users(again.hub)
