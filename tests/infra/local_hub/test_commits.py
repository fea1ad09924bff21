"""A commit is done whole or not at all, and says what was wrong with it."""

import hashlib
import json
import time

import pytest

from tests.builders.hubs import Operation, Workplace, deleted, named, written

pytestmark = pytest.mark.fast

_HEADER = {"key": "header", "value": {"summary": "a commit"}}
_QUICK_S = 5.0


def _post(hub: Workplace, repository: str, body: bytes) -> int:
    headers = {"Content-Type": "application/x-ndjson"}
    return hub.http().post(f"/api/models/{repository}/commit/main", content=body, headers=headers).status_code


def _line(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"


_BROKEN = {
    "nothing": b"",
    "no header": _line(written("a.txt")),
    "no summary": _line({"key": "header", "value": {}}),
    "empty summary": _line({"key": "header", "value": {"summary": ""}}),
    "summary of another type": _line({"key": "header", "value": {"summary": ["x"]}}),
    "cut in the middle": _line(_HEADER) + _line(written("a.txt"))[:-9],
    "no JSON": _line(_HEADER) + b"hello\n",
    "a list": _line(_HEADER) + b"[1, 2]\n",
    "a number": _line(_HEADER) + b"5\n",
    "null": _line(_HEADER) + b"null\n",
    "no value": _line(_HEADER) + b'{"key": "file"}\n',
    "value of another type": _line(_HEADER) + b'{"key": "file", "value": 5}\n',
    "unknown key": _line(_HEADER) + _line({"key": "rename", "value": {"path": "a"}}),
    "second header": _line(_HEADER) + _line(_HEADER) + _line(written("a.txt")),
    "no UTF-8": _line(_HEADER) + b'{"key": "file", "value": {"path": "\xff"}}\n',
    "no base64": _line(_HEADER) + _line({"key": "file", "value": {"path": "a.txt", "content": "%%%", "encoding": "base64"}}),
    "other encoding": _line(_HEADER) + _line({"key": "file", "value": {"path": "a.txt", "content": "x", "encoding": "rot13"}}),
    "no content": _line(_HEADER) + _line({"key": "file", "value": {"path": "a.txt"}}),
    "nested without end": _line(_HEADER) + b"[" * 100_000 + b"\n",
    "half a character": _line(_HEADER)
    + b'{"key": "file", "value": {"path": "\\ud800.txt", "content": "", "encoding": "base64"}}\n',
    "half a character in the title": b'{"key": "header", "value": {"summary": "\\ud800"}}\n' + _line(written("a.txt")),
    "parent of another type": _line({"key": "header", "value": {"summary": "x", "parentCommit": 5}}) + _line(written("a.txt")),
}


@pytest.mark.parametrize("body", _BROKEN.values(), ids=_BROKEN.keys())
def test_broken_lines_are_refused_and_leave_nothing(hub: Workplace, body: bytes):
    repository = hub.new()
    before = hub.api().repo_info(repository).sha
    assert _post(hub, repository, body) == 400
    assert hub.api().repo_info(repository).sha == before


@pytest.mark.parametrize(
    "late", [deleted("absent.txt"), deleted("absent/"), written("../up"), named("w.bin", "0" * 64), named("w.bin", "x")]
)
def test_a_commit_that_fails_at_its_last_line_did_nothing(hub: Workplace, late: Operation):
    repository = hub.new()
    before = hub.api().repo_info(repository).sha
    files = [written(f"{number}.txt", f"{number}" * 100) for number in range(300)]
    assert hub.commit(repository, *files, late).status_code in (400, 404, 422)
    assert hub.api().repo_info(repository).sha == before
    assert hub.api().list_repo_files(repository) == [".gitattributes"]


def test_deleting_what_is_not_there_says_so_in_the_clients_words(hub: Workplace):
    from huggingface_hub.errors import EntryNotFoundError

    repository = hub.new()
    with pytest.raises(EntryNotFoundError, match="A file with this name doesn't exist"):
        hub.api().delete_file("absent.txt", repository)


def test_a_file_is_not_deleted_as_a_folder(hub: Workplace):
    repository = hub.new()
    hub.commit(repository, written("a.txt")).raise_for_status()
    assert hub.commit(repository, deleted("a.txt/")).status_code == 404
    assert "a.txt" in hub.api().list_repo_files(repository)


def test_a_folder_goes_with_everything_in_it_and_so_does_an_emptied_one(hub: Workplace):
    repository = hub.new()
    hub.commit(repository, written("a/b/c.txt"), written("a/d.txt"), written("ab.txt")).raise_for_status()
    hub.commit(repository, deleted("a/b/c.txt")).raise_for_status()
    assert [item.path for item in hub.api().list_repo_tree(repository, recursive=True)] == [
        ".gitattributes",
        "a",
        "a/d.txt",
        "ab.txt",
    ]
    hub.commit(repository, deleted("a/")).raise_for_status()
    assert hub.api().list_repo_files(repository) == [".gitattributes", "ab.txt"]


def test_a_commit_on_another_state_than_the_branchs_is_told_so(hub: Workplace):
    repository = hub.new()
    first = hub.api().repo_info(repository).sha
    second = hub.commit(repository, written("a.txt"), parentCommit=first).raise_for_status().json()["commitOid"]
    for stale in (first, first[:7], "0" * 40):
        answer = hub.commit(repository, written("a.txt", "lost update"), parentCommit=stale)
        assert (answer.status_code, answer.json()["error"][:21]) == (412, "The branch was update")
    assert hub.http().get(f"/{repository}/resolve/main/a.txt").text == "text"
    hub.commit(repository, written("b.txt"), parentCommit=second[:7]).raise_for_status()


def test_one_digit_does_not_name_a_parent(hub: Workplace):
    repository = hub.new()
    head = hub.api().repo_info(repository).sha
    assert head is not None
    assert hub.commit(repository, written("a.txt"), parentCommit=head[0]).status_code in (400, 412)


def test_the_same_commit_sent_again_makes_no_second_one(hub: Workplace):
    repository = hub.new()
    first, second = (hub.commit(repository, written("a.txt")).json()["commitOid"] for _ in range(2))
    assert first == second
    assert len(hub.api().list_repo_commits(repository)) == 2


@pytest.mark.parametrize("revision", ["absent", "v1", "refs%2Ftags%2Fv1", "refs%2Fpr%2F9"])
def test_only_branches_can_be_committed_to(hub: Workplace, revision: str):
    repository = hub.new()
    hub.api().create_tag(repository, tag="v1")
    answer = hub.commit(repository, written("a.txt"), revision=revision)
    assert (answer.status_code, answer.headers["x-error-code"]) == (404, "RevisionNotFound")
    by_id = hub.commit(repository, written("a.txt"), revision=hub.api().repo_info(repository).sha or "")
    assert (by_id.status_code, by_id.headers["x-error-code"]) == (404, "RevisionNotFound")


def test_thousands_of_files_are_written_and_deleted_in_a_moment(hub: Workplace):
    repository = hub.new()
    paths = [f"folder/{number:05d}.txt" for number in range(3000)]
    started = time.monotonic()
    hub.commit(repository, *map(written, paths)).raise_for_status()
    hub.commit(repository, *map(deleted, paths)).raise_for_status()
    assert time.monotonic() - started < _QUICK_S, "nobody else can commit meanwhile"
    assert hub.api().list_repo_files(repository) == [".gitattributes"]


def test_thousands_of_folders_are_written_and_deleted_in_a_moment(hub: Workplace):
    repository, folders = hub.new(), [f"{number:05d}" for number in range(12_000)]
    operations = [*(written(f"{folder}/a.txt") for folder in folders), *(deleted(f"{folder}/") for folder in folders[1:])]
    started = time.monotonic()
    hub.commit(repository, *operations).raise_for_status()
    hub.commit(repository, written("b.txt"), *[deleted("00000/")] * 12_000).raise_for_status()
    assert time.monotonic() - started < _QUICK_S, "nobody else can commit meanwhile"
    assert hub.api().list_repo_files(repository) == [".gitattributes", "b.txt"]


def test_what_one_commit_writes_and_deletes_in_turns_is_as_it_was_left(hub: Workplace):
    repository = hub.new()
    hub.commit(repository, written("a/old.txt"), written("a/b/old.txt"), written("ab.txt")).raise_for_status()
    turns = [
        *(deleted("a/"), written("a/new.txt"), written("a/old.txt", "again"), deleted("a/new.txt"), written("a0.txt")),
        *(
            written("c/d/e.txt"),
            written("c/f.txt"),
            deleted("c/d/"),
            written("c/d/g.txt"),
            deleted("a/b/"),
            written("a/b/new.txt"),
        ),
    ]
    hub.commit(repository, *turns).raise_for_status()
    assert hub.api().list_repo_files(repository) == [
        ".gitattributes", "a/b/new.txt", "a/old.txt", "a0.txt", "ab.txt", "c/d/g.txt", "c/f.txt",
    ]  # fmt: skip
    assert hub.http().get(f"/{repository}/resolve/main/a/old.txt").text == "again"


def test_what_a_refused_commit_brought_does_not_stay_for_ever(hub: Workplace):
    repository = hub.new()
    for brought in (b"\x07refused" * 2000, b"\x07refused" * 20_000):
        assert hub.commit(repository, written("a.txt", brought), parentCommit="0" * 40).status_code == 412
        assert hub.commit(repository, written("a.txt", brought), deleted("absent.txt")).status_code == 404
        hub.hub.store.sweep()
        assert not hub.hub.store.read("SELECT oid FROM blobs WHERE size = ?", [len(brought)]), (
            "clients that try again would fill the disk"
        )
        assert not hub.hub.store.file(hashlib.sha256(brought).hexdigest()).exists()
