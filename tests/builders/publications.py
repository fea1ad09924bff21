"""Small publications for tests: folders that a Hub takes in a moment, connections to test Hubs, and what a repository then holds."""

import hashlib
import json
import random
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from pydantic import SecretStr

from infra.hub import HubConnection
from infra.local_hub.identity import blob_id
from tasks.contracts import HubRevision, RepositoryKind
from tasks.publishing.screening import finish
from tasks.publishing.upload import promote, upload
from tests.builders.hubs import Workplace, clients_for

LARGE_BYTES = 200_000
_HURRY = 200


@dataclass(frozen=True)
class Made:
    """A folder that is ready to be published, and the hash of its content."""

    folder: Path
    content: str

    @property
    def fingerprint(self) -> str:
        """As it stands in branches and tags."""
        return self.content[:12]

    def files(self) -> dict[str, bytes]:
        """What is in it."""
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}


def connected(workplace: Workplace, user: str = "anna", url: str | None = None) -> HubConnection:
    """A connection of a user, by a door if its address is given."""
    token, read_token = (SecretStr(workplace.tokens[name]) for name in (user, f"{user.removesuffix('-read')}-read"))
    return HubConnection(url or workplace.url, token, read_token, local=True)


def make_folder(folder: Path, seed: int, large: int = 2, large_bytes: int = LARGE_BYTES) -> Made:
    """A card, a configuration, a tokenizer that all have in common, and large files of random bytes; the same for the same seed."""
    folder.mkdir(parents=True)
    (folder / "tekken.json").write_text("{}")
    (folder / "README.md").write_text(f"---\nlicense: mit\n---\n# Number {seed}\n")
    (folder / "config.json").write_text(json.dumps({"number": seed}))
    for number in range(large):
        (folder / f"model-{number}.safetensors").write_bytes(weights(seed * 1000 + number, large_bytes))
    return Made(folder, finish(folder, ["*"], ()))


def weights(seed: int, size: int) -> bytes:
    """A safetensors file of random bytes."""
    head = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(head)) + head + random.Random(seed).randbytes(size)


def publish_folder(
    hub: HubConnection, made: Made, name: str, title: str = "A publication", kind: RepositoryKind = RepositoryKind.MODEL
) -> HubRevision:
    """Upload and promote in private, without verification."""
    return promote(hub, upload(hub, made.folder, name, kind, public=False, content=made.content), made.folder, title)


def held(api: HfApi, name: str, revision: str = "main") -> dict[str, bytes]:
    """What a revision of owner/name or datasets/owner/name holds, without the client's cache; .gitattributes is the Hub's."""
    from huggingface_hub.utils import get_session

    kind = "dataset" if name.startswith("datasets/") else "model"
    listed = api.list_repo_files(name.removeprefix("datasets/"), revision=revision, repo_type=kind)
    paths = [path for path in listed if path != ".gitattributes"]
    headers = {"Authorization": f"Bearer {api.token}"}
    return {
        path: get_session().get(f"{api.endpoint}/{name}/resolve/{revision}/{path}", headers=headers).raise_for_status().content
        for path in paths
    }


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits in this process before another attempt, huggingface_hub or we, waits a 200th of the time."""
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(seconds / _HURRY))


def titles(api: HfApi, name: str, revision: str = "main") -> list[str]:
    """The titles of a branch's commits, the newest first, without the Hub's own first one."""
    return [commit.title for commit in api.list_repo_commits(name, revision=revision)][:-1]


def snapshot(made: Made) -> dict[str, str]:
    """What a tree of the Hub says of it: the hash by which each file is known there."""
    files = made.files()
    return {
        path: hashlib.sha256(content).hexdigest() if path.endswith(".safetensors") else blob_id(content)
        for path, content in files.items()
    }


def publishing_process(url: str, tokens: Mapping[str, str], made: Made, name: str) -> BaseProcess:
    """Start publishing in a process of its own, which may be killed; it ends with 0 when it was told that it is published."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, "huggingface_hub.hf_api"])
    process = context.Process(target=_publish_and_end, args=(url, dict(tokens), made, name), daemon=True)
    process.start()
    return process


def _publish_and_end(url: str, tokens: dict[str, str], made: Made, name: str) -> None:
    hub = HubConnection(url, SecretStr(tokens["anna"]), SecretStr(tokens["anna-read"]), local=True)
    with clients_for(url):
        publish_folder(hub, made, name, title=made.fingerprint)
