"""Large files for pull requests: whoever may only propose brings them on their own account, and learns nothing of the owner's."""

import hashlib
from collections.abc import Iterator

import httpx
import pytest

from infra.local_hub import large_files
from tests.builders.hubs import Workplace, named, served_hub, written

pytestmark = pytest.mark.fast
_ROOM = 1000


@pytest.fixture
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """A Hub where anna and bert each have room for 1,000 bytes."""
    with served_hub(tmp_path_factory.mktemp("hub")) as served:
        with served.hub.store.transaction() as database:
            database.execute("UPDATE accounts SET quota_bytes = ?", [_ROOM])
        yield served


def _ask(hub: Workplace, repository: str, content: bytes, user: str | None = "bert", **more: object) -> httpx.Response:
    """The LFS batch call for one file."""
    described = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}
    body = {"operation": "upload", "transfers": ["basic", "multipart"], "objects": [described], **more}
    return hub.http(user).post(f"/{repository}.git/info/lfs/objects/batch", json=body)


def test_what_a_stranger_brings_takes_no_room_of_the_owner(hub: Workplace):
    repository, elsewhere = hub.new(), hub.new()
    hub.put_large(elsewhere, b"a" * 600)
    hub.put_large(repository, b"b" * 900, user="bert")
    hub.put_large(repository, b"c" * 400)
    refused = _ask(hub, hub.new(user="bert"), b"d" * 200)
    assert (refused.status_code, "bert has 900 of 1000 bytes" in refused.json()["error"]) == (403, True)


def test_a_refusal_tells_a_stranger_nothing_of_the_owner(hub: Workplace):
    repository = hub.new()
    hub.put_large(repository, b"a" * 567)
    refused = _ask(hub, repository, b"b" * 1001)
    assert (refused.status_code, "bert has 0 of 1000 bytes" in refused.json()["error"]) == (403, True)
    assert "567" not in refused.text
    assert "anna" not in refused.text


def test_bytes_that_arrive_at_once_are_counted_as_the_strangers_too(hub: Workplace):
    repository, contents = hub.new(), [bytes([number]) * 600 for number in range(2)]
    hrefs = [_ask(hub, repository, content).json()["objects"][0]["actions"]["upload"]["href"] for content in contents]
    answers = [httpx.put(href, content=content, trust_env=False) for href, content in zip(hrefs, contents, strict=True)]
    assert [answer.status_code for answer in answers] == [200, 403]
    assert "bert has 600 of 1000 bytes" in answers[1].json()["error"]


def test_the_real_client_proposes_a_large_file_which_becomes_the_owners_when_merged(hub: Workplace):
    repository, weights = hub.new(), b"w" * 900
    hub.put_large(hub.new(), b"a" * 50)
    proposed = hub.api("bert").upload_file(path_or_fileobj=weights, path_in_repo="w.bin", repo_id=repository, create_pr=True)
    assert _ask(hub, hub.new(user="bert"), b"d" * 200).status_code == 403, "bert has brought 900 bytes"
    hub.api().merge_pull_request(repository, int(str(proposed.pr_num)))
    assert hub.http().get(f"/{repository}/resolve/main/w.bin").content == weights
    assert _ask(hub, hub.new(user="bert"), b"d" * 200).status_code == 200
    assert _ask(hub, repository, b"d" * 200, user="anna").status_code == 403


def test_what_the_owner_has_no_room_for_is_not_merged_or_committed(hub: Workplace):
    repository, weights = hub.new(), b"w" * 900
    hub.put_large(hub.new(), b"a" * 200)
    sha256 = hub.put_large(repository, weights, user="bert")
    hub.commit(repository, named("w.bin", sha256), user="bert", pull=True).raise_for_status()
    assert hub.http().post(f"/api/models/{repository}/discussions/1/merge").status_code == 403
    assert hub.commit(repository, named("w.bin", sha256)).status_code == 403
    assert hub.api().list_repo_files(repository) == [".gitattributes"]


def test_only_who_sees_the_content_brings_something(hub: Workplace):
    gated, private = hub.new(), hub.new(private=True)
    hub.api().update_repo_settings(gated, gated="manual")
    hub.commit(gated, written("a.txt"), pull=True).raise_for_status()
    for repository, user, status in (
        (gated, "bert", 403), (gated, None, 401), (gated, "anna-read", 403), (private, "bert", 404), (private, None, 401),
    ):  # fmt: skip
        assert _ask(hub, repository, b"x", user).status_code == status, f"{user} to {repository}"
    assert _ask(hub, hub.new(), b"x", "bert-read").status_code == 403


def test_to_the_pull_request_of_another_nothing_is_brought(hub: Workplace):
    repository = hub.new()
    hub.commit(repository, written("a.txt"), pull=True).raise_for_status()
    hub.commit(repository, written("a.txt"), user="bert", pull=True).raise_for_status()
    statuses = [_ask(hub, repository, b"x", ref={"name": f"refs/pr/{num}"}).status_code for num in (1, 2, 3)]
    assert statuses == [403, 200, 404]


def test_a_member_who_only_reads_proposes_large_files_to_a_private_repository(hub: Workplace):
    hub.hub.accounts.create("lab", kind="org")
    hub.hub.accounts.join("lab", "anna")
    hub.hub.accounts.join("lab", "bert", role="read")
    repository = hub.create("secret", organization="lab", private=True)
    api = hub.api("bert")
    api.upload_file(path_or_fileobj=b"weights", path_in_repo="w.bin", repo_id=repository, create_pr=True)
    assert api.list_repo_files(repository, revision="refs/pr/1") == [".gitattributes", "w.bin"]


def test_a_stranger_cannot_spoil_what_the_owner_sends_in_parts(hub: Workplace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(large_files, "PART_BYTES", 100)
    upload = _ask(hub, hub.new(), b"w" * 900).json()["objects"][0]["actions"]["upload"]
    assert "header" not in upload
    assert "/api/lfs/" in upload["href"], "in one piece, to a place of its own"
