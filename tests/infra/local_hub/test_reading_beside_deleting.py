"""Whoever reads while somebody deletes sees what was there when the request came, or that it is gone: never half of it."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest

from infra.local_hub.blobs import Blobs
from infra.local_hub.history import History
from tests.builders.hubs import Workplace, named, written

pytestmark = pytest.mark.fast

_API = [
    "?full=true",
    "/{}?blobs=true",
    "/{}/tree/main?recursive=true&expand=true",
    "/{}/commits/main",
    "/{}/refs",
    "/{}/discussions/1",
]
_PAGES = [
    "",
    "/{}",
    "/{}/tree/main/a",
    "/{}/blob/main/a/b.txt",
    "/{}/commits/main",
    "/{}/resolve/main/a/b.txt",
    "/{}/resolve/main/w.bin",
]
_ADDRESSES = [*(f"/api/models{address}" for address in _API), *_PAGES]


def _delete(hub: Workplace, repository: str) -> None:
    hub.api().delete_repo(repository, missing_ok=True)


def _forget(hub: Workplace, repository: str) -> None:
    hub.api().permanently_delete_lfs_files(repository, list(hub.api().list_lfs_files(repository)))


def _squash(hub: Workplace, repository: str) -> None:
    hub.commit(repository, written("a/b.txt", "other")).raise_for_status()
    hub.api().super_squash_history(repository)


@pytest.mark.parametrize("change", [_delete, _forget, _squash])
@pytest.mark.parametrize(("kind", "method"), [(History, "commit"), (Blobs, "get")])
def test_a_request_sees_one_moment(
    hub: Workplace, monkeypatch: pytest.MonkeyPatch, change: Callable[[Workplace, str], None], kind: type, method: str
):
    failures = []
    for address in _ADDRESSES:
        repository = hub.new()
        sha256 = hub.put_large(repository, b"large" * 100_000)
        hub.commit(repository, written("README.md", "# Words"), written("a/b.txt"), named("w.bin", sha256)).raise_for_status()
        hub.commit(repository, written("c.txt"), pull=True).raise_for_status()
        place = address.format(repository)
        try:
            answer = _read_while(hub, monkeypatch, kind, method, place, partial(change, hub, repository))
            failures += [] if answer.status_code in (200, 404) else [f"{place}: {answer.status_code}"]
        except httpx.RemoteProtocolError as error:
            failures.append(f"{place}: {error}")
        _delete(hub, repository)
    assert not failures, "\n".join(failures)


def _read_while(
    hub: Workplace, monkeypatch: pytest.MonkeyPatch, kind: type, method: str, address: str, change: Callable[[], None]
) -> httpx.Response:
    """Ask; after the first call of the method somebody else makes the change, and then the Hub goes on."""
    original, changing = getattr(kind, method), threading.Lock()

    def disturbed(self: Any, *values: Any) -> Any:
        found = original(self, *values)
        if changing.acquire(blocking=False):
            other = threading.Thread(target=change)
            other.start()
            other.join()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(kind, method, disturbed)
        return hub.with_token(hub.tokens["anna"]).get(address)
