"""A network that fails before the Hub: a request is done whole or not at all, and doing it again does no harm."""

import hashlib
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from tests.builders.faulty_door import Fault, FaultyDoor, faulty_door
from tests.builders.hubs import Workplace, clients_for, named, written

pytestmark = pytest.mark.fast

_MOST_TRIES = 30
_DONE = {Fault.RESET_ANSWER, Fault.DROPPED_ANSWER, Fault.SLOW, Fault.TWICE}  # the Hub did it, whatever the client heard
_ANSWERED = {Fault.SLOW, Fault.TWICE}
_PATIENCE_S = 2.0
_CONTENT = random.Random(1).randbytes(3 << 20)


def _through(hub: Workplace, door: FaultyDoor) -> Workplace:
    """The same Hub, asked through the door by a client that does not wait long."""
    through = Workplace(door.url, hub.hub, hub.tokens)
    through.http().timeout = _PATIENCE_S
    return through


@pytest.mark.parametrize("fault", Fault)
def test_a_commit_is_done_or_not_and_again_is_no_second_one(hub: Workplace, fault: Fault):
    repository = hub.new()
    with faulty_door(hub.url, seed=0, share=1.0, faults=[fault], only="POST .*/commit/", timeout_s=0.05, slow_s=0.05) as door:
        through, lines = _through(hub, door), [written(f"{number}.txt", "x" * 9000) for number in range(9)]
        try:
            heard = through.commit(repository, *lines).status_code
        except httpx.TransportError:
            heard = 0
        assert (heard == 200) == (fault in _ANSWERED)
        assert len(hub.api().list_repo_commits(repository)) == (2 if fault in _DONE else 1)
        assert door.done() == Counter([fault])
        door.share = 0
        through.commit(repository, *lines).raise_for_status()
        through.close()
    assert len(hub.api().list_repo_commits(repository)) == 2
    assert len(hub.api().list_repo_files(repository)) == 10


@pytest.mark.parametrize("fault", Fault)
def test_an_upload_is_kept_whole_or_not_at_all(hub: Workplace, fault: Fault):
    repository, sha256 = hub.new(), hashlib.sha256(_CONTENT).hexdigest()
    with faulty_door(hub.url, seed=0, share=1.0, faults=[fault], only="PUT ", timeout_s=0.05, slow_s=0.05) as door:
        through = _through(hub, door)
        try:
            _put(through, repository)
        except (httpx.TransportError, httpx.HTTPStatusError):
            assert fault not in _ANSWERED
        assert hub.commit(repository, named("w.bin", sha256)).is_success == (fault in _DONE)
        door.share = 0
        _put(through, repository)
        hub.commit(repository, named("w.bin", sha256)).raise_for_status()
        sent = door.passed_bytes("^PUT ")
        through.close()
    assert hub.http().get(f"/{repository}/resolve/main/w.bin").content == _CONTENT
    more = {Fault.RESET_REQUEST: len(_CONTENT) // 2, Fault.TWICE: len(_CONTENT)}.get(fault, 0)
    assert sent == len(_CONTENT) + more, "what is there is not sent again"
    _wait_for_no_uploads(hub)


def _put(hub: Workplace, repository: str) -> None:
    """Upload the content, if the Hub asks for it, without much patience."""
    actions = hub.batch(repository, hashlib.sha256(_CONTENT).hexdigest(), len(_CONTENT))
    if actions:
        httpx.put(actions["upload"]["href"], content=_CONTENT, timeout=_PATIENCE_S, trust_env=False).raise_for_status()


def _wait_for_no_uploads(hub: Workplace) -> None:
    """What an interrupted upload had written goes when the Hub notices that its sender is gone."""
    for _ in range(200):
        if not list((hub.hub.store.folder / "uploads").iterdir()):
            return
        hub.http().get("/api/whoami-v2")
    raise AssertionError("an interrupted upload stays")


def test_a_request_that_comes_twice_is_answered_by_either_answer(hub: Workplace):
    heard = []
    with faulty_door(hub.url, seed=0, share=1.0, faults=[Fault.TWICE]) as door:
        through = _through(hub, door)
        for number in range(12):
            asked = through.http().post("/api/repos/create", json={"name": f"twice-{number}"})
            heard.append(asked.status_code)
            assert hub.http().get(f"/api/models/anna/twice-{number}").status_code == 200
        through.close()
    assert set(heard) == {200, 409}


def test_a_silent_door_waits_until_the_client_gives_up_and_the_hub_hears_nothing(hub: Workplace):
    with faulty_door(hub.url, seed=0, share=1.0, faults=[Fault.SILENT]) as door:
        through = _through(hub, door)
        began = time.monotonic()
        with pytest.raises(httpx.ReadTimeout):
            through.http().post("/api/repos/create", json={"name": "never"})
        assert time.monotonic() - began >= _PATIENCE_S
        through.close()
    assert hub.http().get("/api/models/anna/never").status_code == 404
    assert Fault.SILENT not in FaultyDoor(hub.url).faults


def test_the_door_does_the_same_to_the_same_requests(hub: Workplace):
    repository = hub.new()
    treated = []
    for seed in (3, 3, 4):
        with faulty_door(hub.url, seed=seed, timeout_s=0.01, slow_s=0.01, retry_after_s=0) as door:
            client = httpx.Client(base_url=door.url, trust_env=False, timeout=10)
            for number in range(40):
                try:
                    client.get(f"/api/models/{repository}?page={number}")
                except httpx.TransportError:
                    continue
            client.close()
            treated.append([passage.fault for passage in door.passages])
    assert treated[0] == treated[1] != treated[2]
    assert 4 <= sum(fault is not None for fault in treated[0]) <= 20
    assert len({fault for fault in treated[0] if fault}) > 3


def _until_done(work: Callable[[], Any]) -> Any:
    for _ in range(_MOST_TRIES):
        try:
            return work()
        except (HfHubHTTPError, LocalEntryNotFoundError, httpx2.HTTPError, ConnectionError):
            continue
    raise AssertionError("it never got through")


def test_the_real_client_brings_a_folder_through_a_network_that_fails(hub: Workplace, tmp_path: Path):
    folder, chance = tmp_path / "folder", random.Random(5)
    expected = {f"a{number}/w{number}.bin": chance.randbytes(200_000) for number in range(3)} | {
        "card.md": b"# words",
        "c.json": b"{}",
    }
    for path, content in expected.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    repository = hub.new()
    with faulty_door(hub.url, seed=2, retry_after_s=0, timeout_s=0.05, slow_s=0.05) as door, clients_for(door.url):
        api = _through(hub, door).api()
        _until_done(lambda: api.upload_folder(repo_id=repository, folder_path=folder))
        there = _until_done(lambda: api.snapshot_download(repository, cache_dir=tmp_path / "cache", max_workers=1))
        faults = door.done()
    assert {path: (Path(there) / path).read_bytes() for path in expected} == expected
    assert sum(faults.values()) >= 3, "the network was too good to prove anything"
    assert [commit.title for commit in hub.api().list_repo_commits(repository)][1:] == ["initial commit"]
    _wait_for_no_uploads(hub)
