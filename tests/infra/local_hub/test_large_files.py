"""Large files: only the announced bytes arrive, only at a signed address, only for the repository that asked."""

import hashlib
import re
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from infra.local_hub import large_files, uploads
from infra.local_hub.refusal import Refusal
from tests.builders.hubs import Workplace, deleted, named, written

pytestmark = pytest.mark.fast

_WEIGHTS = bytes(range(256)) * 800  # 200 kB: kept beside the database, also as a regular file


def _put(href: str, content: bytes, **headers: str) -> httpx.Response:
    return httpx.put(href, content=content, headers=headers, timeout=30, trust_env=False)


def _address(hub: Workplace, repository: str, content: bytes = _WEIGHTS) -> str:
    href: str = hub.batch(repository, hashlib.sha256(content).hexdigest(), len(content))["upload"]["href"]
    return href


def _uploads(hub: Workplace) -> list[Path]:
    return list((hub.hub.store.folder / "uploads").iterdir())


@pytest.mark.parametrize(
    "sent",
    [_WEIGHTS[:-1], _WEIGHTS + b"x", b"", _WEIGHTS[::-1], _WEIGHTS * 50],
    ids=["fewer", "more", "none", "others", "far more"],
)
def test_other_bytes_than_announced_are_refused_and_not_kept(hub: Workplace, sent: bytes):
    repository, sha256 = hub.new(), hashlib.sha256(_WEIGHTS).hexdigest()
    try:
        assert _put(_address(hub, repository), sent).status_code == 400
    except httpx.WriteError:
        assert len(sent) > len(_WEIGHTS)  # it hung up on us while we were still sending
    assert hub.commit(repository, named("w.bin", sha256)).status_code == 400
    assert _uploads(hub) == []


def test_only_the_signed_address_takes_bytes(hub: Workplace):
    repository, other = hub.new(), hub.new()
    good = _address(hub, repository)
    ids = [re.search(r"/api/lfs/(\w+)/", href)[1] for href in (good, _address(hub, other))]  # type: ignore[index]
    later = str(int(re.search(r"expires=(\d+)", good)[1]) + 1)  # type: ignore[index]
    tampered = {
        "unsigned": good.partition("?")[0],
        "no signature": re.sub(r"&signature=.*", "", good),
        "other signature": re.sub(r"signature=.", "signature=0" if "signature=0" not in good else "signature=1", good),
        "signature that is no hex": re.sub(r"signature=.*", "signature=%C3%A9", good),
        "longer life": re.sub(r"expires=\d+", f"expires={later}", good),
        "no time": re.sub(r"expires=\d+", "expires=", good),
        "endless time": re.sub(r"expires=\d+", "expires=" + "9" * 5000, good),
        "other repository": good.replace(ids[0], ids[1]),
        "other size": good.replace(f"/{len(_WEIGHTS)}/", f"/{len(_WEIGHTS) + 1}/"),
        "other part": good.replace("/0?", "/1?"),
        "other payer": good.replace("?", "?guest=0123456789ab&"),
        "other file": good.replace(hashlib.sha256(_WEIGHTS).hexdigest(), "0" * 64),
    }
    for what, href in tampered.items():
        assert href != good
        assert _put(href, _WEIGHTS).status_code == 403, what
    assert _put(good, _WEIGHTS).status_code == 200


def test_an_address_expires(hub: Workplace, monkeypatch: pytest.MonkeyPatch):
    repository = hub.new()
    href = _address(hub, repository)
    seven_hours_later = time.time() + 7 * 3600
    monkeypatch.setattr(large_files, "time", SimpleNamespace(time=lambda: seven_hours_later))
    answer = _put(href, _WEIGHTS)
    assert (answer.status_code, "expired" in answer.json()["error"]) == (403, True)


def test_a_large_file_that_was_not_uploaded_cannot_be_committed(hub: Workplace):
    repository, sha256 = hub.new(), hashlib.sha256(b"nobody has this").hexdigest()
    answer = hub.commit(repository, named("w.bin", sha256, 15))
    assert (answer.status_code, "was not uploaded" in answer.json()["error"]) == (400, True)


def test_knowing_the_hash_of_others_bytes_is_not_having_them(hub: Workplace):
    secret, copycat = hub.new(private=True), hub.new(user="bert")
    sha256 = hub.put_large(secret, b"private weights")
    hub.commit(secret, named("w.bin", sha256)).raise_for_status()
    assert hub.commit(copycat, named("w.bin", sha256), user="bert").status_code == 400
    assert hub.batch(copycat, sha256, 15, user="bert"), "the Hub must not tell that somebody has it"


@pytest.mark.parametrize("size", [0, 1, len(_WEIGHTS) + 1, -1, 1 << 60])
def test_a_wrong_size_is_refused(hub: Workplace, size: int):
    repository = hub.new()
    sha256 = hub.put_large(repository, _WEIGHTS)
    assert hub.commit(repository, named("w.bin", sha256, size)).status_code == 400


@pytest.mark.parametrize("oid", ["", "x", "A" * 64, "0" * 63, "0" * 64 + "\n", "../" * 21 + "0", 5, None])
def test_what_is_no_hash_gets_no_address(hub: Workplace, oid: object):
    body = {"operation": "upload", "objects": [{"oid": oid, "size": 5}]}
    assert hub.http().post(f"/{hub.new()}.git/info/lfs/objects/batch", json=body).status_code == 400


def test_what_is_there_already_is_not_asked_for_again(hub: Workplace):
    repository = hub.new()
    sha256 = hub.put_large(repository, _WEIGHTS)
    assert hub.batch(repository, sha256, len(_WEIGHTS)) == {}
    verify = f"/{repository}.git/info/lfs/objects/verify"
    assert hub.http().post(verify, json={"oid": sha256, "size": len(_WEIGHTS)}).status_code == 200
    for described in ({"oid": sha256, "size": 1}, {"oid": "0" * 64, "size": 1}, {"oid": "0" * 64}, {}):
        assert hub.http().post(verify, json=described).status_code in (400, 404), described


def test_a_pointer_that_was_committed_as_a_file_becomes_the_large_file(hub: Workplace):
    """A clone without git-lfs has pointers in place of large files; people push those, then the files."""
    repository, sha256 = hub.new(), hashlib.sha256(_WEIGHTS).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(_WEIGHTS)}\n"
    hub.commit(repository, written("w.bin", pointer)).raise_for_status()
    hub.put_large(repository, _WEIGHTS)
    hub.commit(repository, named("w.bin", sha256)).raise_for_status()
    assert hub.http().get(f"/{repository}/resolve/main/w.bin").content == _WEIGHTS


def test_forgetting_a_large_file_takes_it_out_of_every_branch_and_nothing_else(hub: Workplace):
    api, repository = hub.api(), hub.new()
    sha256 = hub.put_large(repository, _WEIGHTS)
    first = hub.commit(repository, named("w.bin", sha256), written("same-bytes.txt", _WEIGHTS), written("a/kept.txt")).json()[
        "commitOid"
    ]
    api.create_branch(repository, branch="old", revision=first)
    api.create_tag(repository, tag="v1", revision=first)
    hub.commit(repository, deleted("w.bin")).raise_for_status()
    (listed,) = api.list_lfs_files(repository)
    api.permanently_delete_lfs_files(repository, [listed])
    for revision in ("main", "old", "v1"):
        assert sorted(api.list_repo_files(repository, revision=revision)) == [".gitattributes", "a/kept.txt", "same-bytes.txt"]
        assert hub.http().get(f"/{repository}/resolve/{revision}/same-bytes.txt").content == _WEIGHTS
        assert hub.http().get(f"/api/models/{repository}/tree/{revision}?recursive=true&expand=true").status_code == 200
    assert hub.http().get(f"/{repository}/resolve/{first}/w.bin").status_code == 404
    assert hub.batch(repository, sha256, len(_WEIGHTS)), "its bytes are gone"


def test_bytes_that_two_repositories_hold_outlive_one_of_them(hub: Workplace):
    going, staying = hub.new(), hub.new(user="bert")
    sha256 = hub.put_large(going, b"shared bytes")
    hub.put_large(staying, b"shared bytes", user="bert")
    hub.commit(staying, named("w.bin", sha256), user="bert").raise_for_status()
    hub.api().delete_repo(going)
    assert hub.http().get(f"/{staying}/resolve/main/w.bin").content == b"shared bytes"
    hub.api("bert").delete_repo(staying)
    assert not hub.hub.store.file(sha256).exists()


def test_a_file_in_parts_is_put_together_by_the_real_client(hub: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(large_files, "PART_BYTES", 1 << 20)
    content = b"".join(hashlib.sha256(f"{number}".encode()).digest() for number in range(100_000))
    repository = hub.new()
    hub.api().upload_file(path_or_fileobj=content, path_in_repo="w.bin", repo_id=repository)
    assert Path(hub.api().hf_hub_download(repository, "w.bin", cache_dir=tmp_path)).read_bytes() == content
    assert _uploads(hub) == []


def test_parts_that_are_missing_or_mixed_up_make_no_file(hub: Workplace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(large_files, "PART_BYTES", 1 << 16)
    repository, sha256 = hub.new(), hashlib.sha256(_WEIGHTS).hexdigest()
    upload = hub.batch(repository, sha256, len(_WEIGHTS))["upload"]
    parts = {int(key): href for key, href in upload["header"].items() if key.isdecimal()}
    pieces = {number: _WEIGHTS[(number - 1) << 16 : number << 16] for number in parts}

    def complete(etags: dict[int, str]) -> int:
        named_parts = [{"partNumber": number, "etag": etag} for number, etag in etags.items()]
        return hub.http().post(upload["href"], json={"oid": sha256, "parts": named_parts}).status_code

    etags = {number: _put(parts[number], pieces[number]).headers["etag"] for number in list(parts)[:-1]}
    last = max(parts)
    assert complete(etags) == 400, "one part is missing"
    assert complete(etags | {last: '"unknown"'}) == 400
    assert _put(parts[last], pieces[last] + b"x").status_code == 400
    etags[last] = _put(parts[last], b"y" * len(pieces[last])).headers["etag"]
    assert complete(etags) == 400, "the whole has another hash"
    etags = {number: _put(parts[number], pieces[number]).headers["etag"] for number in parts}
    assert [complete(etags), complete(etags)] == [200, 200], "said twice, done once"
    hub.commit(repository, named("w.bin", sha256)).raise_for_status()
    assert hub.http().get(f"/{repository}/resolve/main/w.bin").content == _WEIGHTS


def test_a_quota_holds_whatever_is_announced_at_once(hub: Workplace):
    hub.hub.accounts.create("poor", quota_bytes=100)
    client = hub.with_token(hub.hub.accounts.add_token("poor"))
    client.post("/api/repos/create", json={"name": "small"}).raise_for_status()
    contents = [bytes([number]) * 60 for number in range(3)]

    def ask(content: bytes) -> httpx.Response:
        described = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}
        return client.post("/poor/small.git/info/lfs/objects/batch", json={"operation": "upload", "objects": [described]})

    hrefs = [ask(content).json()["objects"][0]["actions"]["upload"]["href"] for content in contents[:2]]
    answers = [_put(href, content).status_code for href, content in zip(hrefs, contents, strict=False)]
    assert answers == [200, 403]
    refused = ask(contents[2])
    assert (refused.status_code, "quota" in refused.json()["error"]) == (403, True)
    assert ask(contents[0]).status_code == 200, "what is there needs no more room"


def _send_parts(hub: Workplace, repository: str, content: bytes) -> tuple[str, list[dict[str, object]]]:
    """Send content under the name of the weights; where to have it put together, and what to say there."""
    upload = hub.batch(repository, hashlib.sha256(_WEIGHTS).hexdigest(), len(content))["upload"]
    parts = {int(key): href for key, href in upload["header"].items() if key.isdecimal()}
    pieces = {number: content[(number - 1) << 16 : number << 16] for number in parts}
    return upload["href"], [
        {"partNumber": number, "etag": _put(parts[number], piece).headers["etag"]} for number, piece in pieces.items()
    ]


def test_a_file_in_parts_has_the_announced_length_and_bytes_of_another_attempt_do_no_harm(
    hub: Workplace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(large_files, "PART_BYTES", 1 << 16)
    repository = hub.new()

    def complete(href: str, named_parts: list[dict[str, object]]) -> int:
        return hub.http().post(href, json={"parts": named_parts}).status_code

    _send_parts(hub, repository, _WEIGHTS)
    assert complete(*_send_parts(hub, repository, _WEIGHTS[:-1])) == 400, "a shorter file whose end lies there from before"
    assert complete(*_send_parts(hub, repository, _WEIGHTS + b"longer")) == 400
    assert complete(*_send_parts(hub, repository, _WEIGHTS)) == 200
    hub.commit(repository, named("w.bin", hashlib.sha256(_WEIGHTS).hexdigest(), len(_WEIGHTS))).raise_for_status()


def test_two_that_put_the_same_parts_together_do_not_make_the_hub_fail(tmp_path: Path):
    with pytest.raises(Refusal) as told, uploads.without_writers(tmp_path / "taken by the other"):
        pass
    assert told.value.status == 503, "the client asks again, and hears that the file is there"


def test_no_request_for_addresses_is_answered_with_more_than_memory_holds(hub: Workplace):
    described = [{"oid": f"{number:064d}", "size": 1 << 44} for number in range(100)]
    body = {"operation": "upload", "transfers": ["multipart"], "objects": described}
    answer = hub.http().post(f"/{hub.new()}.git/info/lfs/objects/batch", json=body)
    assert (answer.status_code, "ask for fewer" in answer.json()["error"]) == (413, True)
