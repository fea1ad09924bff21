"""Many clients, and more than one server over one folder: nothing is lost and nobody waits for ever."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from infra.local_hub.hub import Hub
from tests.builders.hubs import HubProcess, Workplace, hub_process, named, written

_CLIENTS = 50
_MOST_TRIES = 200


def _all_at_once(work: Callable[[int], object], clients: int = _CLIENTS) -> list[object]:
    """Do something with every number at the same moment."""
    begin = threading.Barrier(clients)

    def start(number: int) -> object:
        begin.wait()
        return work(number)

    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(start, range(clients)))


def _commit_on_head(hub: Workplace, repository: str, number: int) -> int:
    """Commit on top of what is there, again when somebody was faster; how often."""
    for tries in range(1, _MOST_TRIES):
        head = hub.http().get(f"/api/models/{repository}").json()["sha"]
        answer = hub.commit(repository, written(f"{number}.txt", f"{number}"), parentCommit=head)
        if answer.status_code != httpx.codes.PRECONDITION_FAILED:
            answer.raise_for_status()
            return tries
    raise AssertionError("always somebody was faster")


def _check_all_there(hub: Workplace, repository: str, names: Iterable[str], commits: int) -> None:
    files = {path for path in hub.api().list_repo_files(repository) if path != ".gitattributes"}
    assert files == set(names)
    for name in names:
        assert hub.http().get(f"/{repository}/resolve/main/{name}").text == name.partition(".")[0]
    assert len(hub.api().list_repo_commits(repository)) == commits + 1


@pytest.mark.fast
def test_fifty_clients_that_commit_at_once_lose_nothing(hub: Workplace):
    repository = hub.new()
    _all_at_once(lambda number: hub.commit(repository, written(f"{number}.txt", f"{number}")).raise_for_status())
    _check_all_there(hub, repository, [f"{number}.txt" for number in range(_CLIENTS)], _CLIENTS)


@pytest.mark.fast
def test_clients_that_name_the_parent_are_told_when_it_moved_and_lose_nothing(hub: Workplace):
    repository, clients = hub.new(), 12
    tries = _all_at_once(lambda number: _commit_on_head(hub, repository, number), clients)
    _check_all_there(hub, repository, [f"{number}.txt" for number in range(clients)], clients)
    assert max(tries) > 1, "nobody was ever too late"  # type: ignore[type-var]


@pytest.mark.fast
def test_a_name_is_given_to_one_of_many(hub: Workplace):
    repository = hub.new()
    for address, body in (
        ("/api/repos/create", {"name": "wanted"}),
        (f"/api/models/{repository}/branch/b", {}),
        (f"/api/models/{repository}/tag/main", {"tag": "t"}),
    ):
        statuses = _all_at_once(lambda _, address=address, body=body: hub.http().post(address, json=body).status_code, 12)  # type: ignore[misc]
        assert sorted(statuses) == [200] + [409] * 11, address  # type: ignore[type-var]


@pytest.mark.fast
def test_the_same_large_file_from_many_is_kept_once_and_whole(hub: Workplace):
    content = bytes(range(256)) * 4000
    repositories = [hub.new() for _ in range(8)]
    hashes = _all_at_once(lambda number: hub.put_large(repositories[number % 4], content), 8)
    for repository, sha256 in zip(repositories[:4], hashes, strict=False):
        hub.commit(repository, named("w.bin", str(sha256))).raise_for_status()
        assert hub.http().get(f"/{repository}/resolve/main/w.bin").content == content
    assert list((hub.hub.store.folder / "uploads").iterdir()) == []


@pytest.mark.fast
def test_many_pull_requests_have_each_a_number_of_its_own(hub: Workplace):
    repository = hub.new()
    urls = _all_at_once(lambda number: hub.commit(repository, written(f"{number}.txt"), pull=True).json()["pullRequestUrl"], 12)
    assert sorted(int(str(url).rpartition("/")[2]) for url in urls) == list(range(1, 13))


@pytest.mark.fast
def test_deleting_beside_uploading_takes_no_bytes_of_others(hub: Workplace):
    content, keeper = b"shared by all" * 10_000, hub.new()

    def work(number: int) -> None:
        if number % 2:
            for _ in range(5):
                hub.api().delete_repo(_holder(hub, f"going-{number}", content))
        else:
            for turn in range(5):
                sha256 = hub.put_large(keeper, content + bytes([number, turn]))
                hub.commit(keeper, named(f"{number}-{turn}.bin", sha256)).raise_for_status()

    _all_at_once(work, 8)
    for path in hub.api().list_repo_files(keeper):
        assert hub.http().get(f"/{keeper}/resolve/main/{path}").status_code == 200
        assert hub.http().get(f"/{keeper}/resolve/main/{path}").content


def _holder(hub: Workplace, name: str, content: bytes) -> str:
    repository = hub.create(name)
    hub.commit(repository, named("w.bin", hub.put_large(repository, content))).raise_for_status()
    return repository


@pytest.mark.fast
def test_many_that_open_a_new_folder_at_once_all_find_one_hub(tmp_path: Path):
    hubs = _all_at_once(lambda _: Hub(tmp_path / "new"), 12)
    assert len({hub.store.signing_key for hub in hubs}) == 1  # type: ignore[attr-defined]


def test_two_servers_over_one_folder_are_one_hub(tmp_path: Path):
    with hub_process(tmp_path / "home") as (first, hub):
        second = HubProcess(first.home)
        second.start()
        other = Workplace(second.url, hub.hub, hub.tokens)
        repository, clients = hub.new(), 16
        sides = (hub, other)
        _all_at_once(
            lambda number: sides[number % 2].commit(repository, written(f"{number}.txt", f"{number}")).raise_for_status(), clients
        )
        for side in sides:
            _check_all_there(side, repository, [f"{number}.txt" for number in range(clients)], clients)
        sha256 = hub.put_large(repository, b"uploaded here")
        other.commit(repository, named("w.bin", sha256)).raise_for_status()
        second.kill()
        assert hub.http().get(f"/{repository}/resolve/main/w.bin").content == b"uploaded here"
