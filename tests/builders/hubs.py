"""Local Hubs for tests: in a thread, or as a process that may be killed; with users anna and bert, and real clients."""

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from infra.local_hub.hub import Hub
from infra.local_hub.server import serving
from infra.processes import free_port

if TYPE_CHECKING:
    from huggingface_hub import HfApi

USERS = ("anna", "bert")
_ANSWER_S = 30.0
_POLL_S = 0.02
Operation = dict[str, Any]


@dataclass(repr=False)
class Workplace:
    """A Hub at an address, and the tokens of its users: `anna`, `bert` write, `anna-read` reads."""

    url: str
    hub: Hub
    tokens: Mapping[str, str]
    _clients: dict[str | None, httpx.Client] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=count)

    def api(self, user: str | None = "anna") -> "HfApi":
        """The real client; None is nobody."""
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.url, token=self.tokens[user] if user else False)

    def http(self, user: str | None = "anna") -> httpx.Client:
        """The plain HTTP client of a user."""
        if user not in self._clients:
            self._clients[user] = self.with_token(self.tokens[user] if user else None)
        return self._clients[user]

    def with_token(self, token: str | None) -> httpx.Client:
        """A plain HTTP client of its own."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=_ANSWER_S, trust_env=False)

    def create(self, repository: str, kind: str = "model", user: str = "anna", **settings: object) -> str:
        """Make a repository of a user; its full id."""
        body = {"name": repository, "type": kind, **({"sdk": "static"} if kind == "space" else {}), **settings}
        return str(self.http(user).post("/api/repos/create", json=body).raise_for_status().json()["name"])

    def new(self, kind: str = "model", user: str = "anna", **settings: object) -> str:
        """Make a repository that nobody else uses; its id."""
        return self.create(f"repository-{next(self._numbers)}", kind, user, **settings)

    def commit(
        self,
        repository: str,
        *operations: Operation,
        user: str = "anna",
        revision: str = "main",
        pull: bool = False,
        **header: object,
    ) -> httpx.Response:
        """Commit to owner/name (a model) or datasets/owner/name as the clients do; `header` goes into the first line."""
        place = repository if repository.count("/") > 1 else f"models/{repository}"
        lines = [{"key": "header", "value": {"summary": "a commit"} | header}, *operations]
        return self.http(user).post(
            f"/api/{place}/commit/{revision}{'?create_pr=1' if pull else ''}",
            content="\n".join(json.dumps(line) for line in lines),
            headers={"Content-Type": "application/x-ndjson"},
        )

    def put_large(self, repository: str, content: bytes, user: str = "anna") -> str:
        """Upload a large file by LFS, without a commit; its SHA-256."""
        sha256 = hashlib.sha256(content).hexdigest()
        actions = self.batch(repository, sha256, len(content), user)
        if actions:
            httpx.put(actions["upload"]["href"], content=content, timeout=_ANSWER_S, trust_env=False).raise_for_status()
        return sha256

    def batch(self, repository: str, sha256: str, size: int, user: str = "anna") -> dict[str, Any]:
        """What the LFS batch call says of one file: its actions, none if it is there."""
        body = {"operation": "upload", "transfers": ["basic", "multipart"], "objects": [{"oid": sha256, "size": size}]}
        answer = self.http(user).post(f"/{repository}.git/info/lfs/objects/batch", json=body).raise_for_status()
        actions: dict[str, Any] = answer.json()["objects"][0].get("actions", {})
        return actions

    def close(self) -> None:
        """Close the HTTP clients."""
        for client in self._clients.values():
            client.close()


def written(path: str, content: bytes | str = b"text") -> Operation:
    """A commit's line for a small file."""
    raw = content.encode() if isinstance(content, str) else content
    return {"key": "file", "value": {"path": path, "content": base64.b64encode(raw).decode(), "encoding": "base64"}}


def named(path: str, sha256: str, size: int | None = None) -> Operation:
    """A commit's line for an uploaded large file."""
    return {
        "key": "lfsFile",
        "value": {"path": path, "algo": "sha256", "oid": sha256} | ({"size": size} if size is not None else {}),
    }


def deleted(path: str) -> Operation:
    """A commit's line that deletes a file, or a folder (`path/`)."""
    return {"key": "deletedFolder" if path.endswith("/") else "deletedFile", "value": {"path": path}}


def add_users(hub: Hub) -> dict[str, str]:
    """Make the users, and tokens by name."""
    for user in USERS:
        hub.accounts.create(user)
    reading = {f"{user}-read": hub.accounts.add_token(user, role="read") for user in USERS}
    return reading | {user: hub.accounts.add_token(user) for user in USERS}


@contextmanager
def served_hub(folder: Path) -> Iterator[Workplace]:
    """Serve a Hub in a thread on a free port; huggingface_hub in this process speaks to it while the block runs."""
    with serving(folder) as served, clients_for(served.url):
        workplace = Workplace(served.url, served.hub, add_users(served.hub))
        try:
            yield workplace
        finally:
            workplace.close()


@contextmanager
def clients_for(url: str) -> Iterator[None]:
    """Let huggingface_hub, which reads its settings when it is imported, speak to this address while the block runs."""
    from huggingface_hub import close_session, constants
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    wanted = {
        "ENDPOINT": url,
        "HUGGINGFACE_CO_URL_TEMPLATE": f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_OFFLINE": False,
    }
    before = {name: getattr(constants, name) for name in wanted}
    for name, value in wanted.items():
        setattr(constants, name, value)
    try:
        yield
    finally:
        close_session()
        for name, value in before.items():
            setattr(constants, name, value)


def client_environment(url: str, token: str, home: Path) -> dict[str, str]:
    """For a client in a process of its own: it reads its settings when it starts."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING_FACE_", "VOXFACTORY_"))}
    return kept | {
        "HF_ENDPOINT": url,
        "HF_TOKEN": token,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


class HubProcess:
    """`voxfactory hub` as a process of its own on one home, which may be killed and started again at the same address."""

    def __init__(self, home: Path, port: int | None = None) -> None:
        self.home, self.port = home, port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VOXFACTORY_")}
        with (self.home.parent / f"hub-{self.port}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "deployments.cli", "hub"],
                env=environment | {"VOXFACTORY_HOME": str(self.home), "VOXFACTORY_HUB_PORT": str(self.port)},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                preexec_fn=_hear_interrupts,
            )
        deadline = time.monotonic() + _ANSWER_S
        while not self._answers():
            assert self._process.poll() is None, f"the Hub ended with {self._process.returncode}: {self.log()}"
            assert time.monotonic() < deadline, f"the Hub does not answer: {self.log()}"
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """SIGKILL, if it still runs: it can do nothing about it."""
        if self._process is not None and self._process.poll() is None:
            self.end(signal.SIGKILL)

    def end(self, number: signal.Signals) -> int:
        """Send a signal and wait; the exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(_ANSWER_S)

    def log(self) -> str:
        """What it printed."""
        return (self.home.parent / f"hub-{self.port}.log").read_text()

    def open(self) -> Hub:
        """The same folder from this process: to make users, and to look behind the server."""
        return Hub(self.home / "hub")

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/sign-in", timeout=_ANSWER_S, trust_env=False).is_success
        except httpx.TransportError:
            return False


def _hear_interrupts() -> None:
    """Background jobs of a shell, and what they start, are born deaf to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def hub_process(home: Path) -> Iterator[tuple[HubProcess, Workplace]]:
    """A Hub as a process of its own, with its users; clients here speak to it until it is killed when the block ends."""
    process = HubProcess(home)
    hub = process.open()
    workplace = Workplace(process.url, hub, add_users(hub))
    process.start()
    try:
        with clients_for(process.url):
            yield process, workplace
    finally:
        workplace.close()
        process.kill()
