"""Branches, tags, ids of commits, squashing, and which commit last changed a file."""

import pytest
from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

from tests.builders.hubs import Workplace, deleted, written

pytestmark = pytest.mark.fast


def _titles(hub: Workplace, repository: str, revision: str = "main") -> list[str]:
    return [commit.title for commit in hub.api().list_repo_commits(repository, revision=revision)]


def test_a_branch_goes_its_own_way(hub: Workplace):
    api, repository = hub.api(), hub.new()
    first = hub.commit(repository, written("a.txt", "one")).json()["commitOid"]
    api.create_branch(repository, branch="feat/x+ü")
    hub.commit(repository, written("a.txt", "two"), revision="feat%2Fx%2B%C3%BC").raise_for_status()
    refs = {branch.name: branch.target_commit for branch in api.list_repo_refs(repository).branches}
    assert refs["main"] == first != refs["feat/x+ü"]
    assert hub.http().get(f"/{repository}/resolve/feat%2Fx%2B%C3%BC/a.txt").text == "two"
    assert hub.http().get(f"/{repository}/resolve/main/a.txt").text == "one"
    api.delete_branch(repository, branch="feat/x+ü")
    with pytest.raises(RevisionNotFoundError):
        api.list_repo_files(repository, revision="feat/x+ü")


def test_a_branch_starts_where_it_is_told_to(hub: Workplace):
    api, repository = hub.api(), hub.new()
    early = hub.commit(repository, written("a.txt", "early")).json()["commitOid"]
    hub.commit(repository, written("a.txt", "late")).raise_for_status()
    api.create_tag(repository, tag="v1", revision=early)
    for number, start in enumerate((early, early[:8], "v1", "refs/tags/v1")):
        api.create_branch(repository, branch=f"from-{number}", revision=start)
        assert hub.http().get(f"/{repository}/resolve/from-{number}/a.txt").text == "early"


def test_names_are_given_once_and_main_stays(hub: Workplace):
    api, repository = hub.api(), hub.new()
    api.create_branch(repository, branch="b")
    api.create_tag(repository, tag="t")
    for again in (lambda: api.create_branch(repository, branch="b"), lambda: api.create_tag(repository, tag="t")):
        with pytest.raises(HfHubHTTPError, match="409"):
            again()
    api.create_branch(repository, branch="b", exist_ok=True)
    api.create_tag(repository, tag="t", exist_ok=True)
    with pytest.raises(HfHubHTTPError, match="403"):
        api.delete_branch(repository, branch="main")
    for absent in (lambda: api.delete_branch(repository, branch="c"), lambda: api.delete_tag(repository, tag="b")):
        with pytest.raises(RevisionNotFoundError):
            absent()


def test_a_tag_stays_where_it_was_set(hub: Workplace):
    api, repository = hub.api(), hub.new()
    hub.commit(repository, written("a.txt", "released")).raise_for_status()
    api.create_tag(repository, tag="v1.0", tag_message="first")
    hub.commit(repository, written("a.txt", "developed")).raise_for_status()
    assert hub.http().get(f"/{repository}/resolve/v1.0/a.txt").text == "released"
    api.delete_tag(repository, tag="v1.0")
    assert hub.http().get(f"/{repository}/resolve/v1.0/a.txt").headers["x-error-code"] == "RevisionNotFound"


@pytest.mark.parametrize("digits", [7, 10, 39, 40])
def test_a_commit_is_found_by_the_beginning_of_its_id(hub: Workplace, digits: int):
    repository = hub.new()
    oid = hub.commit(repository, written("a.txt", "here")).json()["commitOid"]
    hub.commit(repository, written("a.txt", "later")).raise_for_status()
    answer = hub.http().get(f"/{repository}/resolve/{oid[:digits]}/a.txt")
    assert (answer.text, answer.headers["x-repo-commit"]) == ("here", oid)
    for wrong in (oid[:6], oid[:digits].upper() if oid[:digits].upper() != oid[:digits] else "xyz", oid + "0", "f" * digits):
        assert hub.http().get(f"/{repository}/resolve/{wrong}/a.txt").headers["x-error-code"] == "RevisionNotFound"


def test_a_commit_of_another_repository_is_not_found(hub: Workplace):
    mine, others = hub.new(), hub.new(user="bert", private=True)
    oid = hub.commit(others, written("a.txt", "secret"), user="bert").json()["commitOid"]
    for address in (f"/{mine}/resolve/{oid}/a.txt", f"/api/models/{mine}/revision/{oid}", f"/{mine}/commit/{oid}"):
        assert hub.http().get(address).status_code == 404


def test_squashing_keeps_the_files_and_forgets_the_way(hub: Workplace):
    api, repository = hub.api(), hub.new()
    for number in range(4):
        hub.commit(repository, written(f"{number}.txt")).raise_for_status()
    api.create_branch(repository, branch="kept")
    files = api.list_repo_files(repository)
    api.super_squash_history(repository, commit_message="all of it")
    assert (_titles(hub, repository), api.list_repo_files(repository)) == (["all of it"], files)
    assert len(_titles(hub, repository, "kept")) == 5
    hub.commit(repository, written("more.txt")).raise_for_status()
    assert _titles(hub, repository) == ["a commit", "all of it"]


def test_each_path_names_the_commit_that_last_changed_it(hub: Workplace):
    repository = hub.new()
    commits = [
        hub.commit(repository, *changes, summary=title).raise_for_status().json()["commitOid"]
        for title, changes in {
            "first": [written("a/x.txt", "1"), written("a/y.txt", "1"), written("b.txt", "1")],
            "second": [written("a/x.txt", "2")],
            "third": [written("b.txt", "2"), deleted("a/y.txt")],
            "fourth": [written("b.txt", "1"), written("a/y.txt", "1")],
        }.items()
    ]
    tree = hub.api().list_repo_tree(repository, recursive=True, expand=True)
    last = {item.path: item.last_commit.oid for item in tree if item.last_commit}
    assert last["a/x.txt"] == commits[1]
    assert last["a/y.txt"] == last["b.txt"] == last["a"] == commits[3]
    assert last[".gitattributes"] not in commits
    (old,) = hub.api().get_paths_info(repository, "b.txt", revision=commits[1], expand=True)
    assert old.last_commit is not None
    assert (old.last_commit.oid, old.last_commit.title) == (commits[0], "first")


def test_long_lists_come_in_pages_that_lead_on(hub: Workplace):
    for name in ("long", "tree"):
        repository = hub.create(name)
        hub.commit(repository, *[written(f"{number}.txt") for number in range(7)]).raise_for_status()
        seen: list[str] = []
        address = f"{hub.url}/api/models/{repository}/tree/main?limit=3"
        while address:
            answer = hub.http().get(address).raise_for_status()
            seen += [item["path"] for item in answer.json()]
            address = answer.links.get("next", {}).get("url", "")
        assert seen == [".gitattributes", *(f"{number}.txt" for number in range(7))]


def test_a_list_in_pages_is_of_one_moment(hub: Workplace):
    repository = hub.new()
    hub.commit(repository, *[written(f"{number}.txt") for number in range(4)]).raise_for_status()
    first = hub.http().get(f"/api/models/{repository}/tree/main?limit=3")
    hub.commit(repository, deleted("0.txt"), deleted("1.txt")).raise_for_status()
    second = hub.http().get(first.links["next"]["url"]).raise_for_status()
    assert [item["path"] for item in [*first.json(), *second.json()]] == [".gitattributes", "0.txt", "1.txt", "2.txt", "3.txt"]


def test_a_range_of_a_file_is_that_range(hub: Workplace):
    repository, content = hub.new(), bytes(range(256)) * 1000
    sha256 = hub.put_large(repository, content)
    line = {"key": "lfsFile", "value": {"path": "w.bin", "algo": "sha256", "oid": sha256}}
    hub.commit(repository, line, written("small.txt", content[:1000])).raise_for_status()
    for name, whole in (("w.bin", content), ("small.txt", content[:1000])):
        for asked, expected in (
            ("0-0", whole[:1]),
            ("5-9", whole[5:10]),
            ("990-", whole[990:]),
            ("-7", whole[-7:]),
            ("10-999999999", whole[10:]),
        ):
            answer = hub.http().get(f"/{repository}/resolve/main/{name}", headers={"Range": f"bytes={asked}"})
            assert (answer.status_code, answer.content) == (206, expected), f"{name} {asked}"
            assert answer.headers["content-range"].endswith(f"/{len(whole)}")
        past = hub.http().get(f"/{repository}/resolve/main/{name}", headers={"Range": f"bytes={len(whole)}-"})
        assert past.status_code == 416
        head = hub.http().head(f"/{repository}/resolve/main/{name}")
        assert (int(head.headers["content-length"]), head.content) == (len(whole), b"")
