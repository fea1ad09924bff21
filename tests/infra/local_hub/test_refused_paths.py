"""Names that could hurt on someone's disk are refused when they are committed; all others are kept as they came."""

import unicodedata
from urllib.parse import quote

import pytest

from tests.builders.hubs import Operation, Workplace, deleted, named, written

pytestmark = pytest.mark.fast

_CLIMBING = ["..", "../up.txt", "a/../b.txt", "a/..", ".", "./a.txt", "a/./b", "/etc/passwd", "//a", "a//b", ""]
_BACKSLASHES = ["\\a.txt", "..\\up.txt", ".\\a.txt", "a\\b.txt", "a/b\\", "\\\\host\\share"]
_DRIVES = ["C:/x", "C:\\x", "c:x", "Z:", "C:/", "\u212a:/x"]  # the last is the sign for Kelvin, which NFC makes a K
_GIT = [".git", ".git/config", "a/.git/hooks/pre-commit", ".GIT/config", ".Git"]
_CONTROLS = ["a\x00b", "a\nb", "a\rb", "a\x1b[31m", "a\x7fb", "a\x85b"]
_LONG = ["a" * 256, "/".join(["a" * 200] * 30), "é" * 128]


@pytest.mark.parametrize("path", [*_CLIMBING, *_BACKSLASHES, *_DRIVES, *_GIT, *_CONTROLS, *_LONG])
def test_a_path_that_could_hurt_is_refused_however_it_comes(hub: Workplace, path: str):
    repository = hub.new()
    sha256 = hub.put_large(repository, b"large")
    before = hub.api().repo_info(repository).sha
    for operation in (written(path), named(path, sha256), deleted(path)):
        answer = hub.commit(repository, written("fine.txt"), operation)
        assert answer.status_code in (404, 422), f"{operation['key']} of {path!r}: {answer.text}"
    asked = hub.http().post(f"/api/models/{repository}/preupload/main", json={"files": [{"path": path, "size": 1, "sample": ""}]})
    assert asked.status_code == 422
    assert hub.api().repo_info(repository).sha == before, "of a refused commit nothing stays"


@pytest.mark.parametrize(
    "path",
    [
        "a b.txt",
        "Übung/ß.txt",
        "日本.txt",
        "%2e%2e/a",
        "a?b#c&d=e",
        "+.txt",
        "a/C:/x",
        "ab:c.txt",
        "1:2.txt",
        ".gitignore",
        "...",
        "con",
        "😀/👍🏽.txt",
    ],
)
def test_a_path_that_is_only_unusual_is_read_by_the_name_it_was_written_by(hub: Workplace, path: str):
    repository = hub.new()
    hub.commit(repository, written(path, path)).raise_for_status()
    assert hub.http().get(f"/{repository}/resolve/main/{quote(path)}").text == path
    assert path in hub.api().list_repo_files(repository)
    assert [item.path for item in hub.api().get_paths_info(repository, [path])] == [path]
    assert hub.http().get(f"/{repository}/blob/main/{quote(path)}").status_code == 200


def test_an_accent_is_found_whichever_way_its_letter_was_composed(hub: Workplace):
    repository = hub.new()
    apart = unicodedata.normalize("NFD", "Müller/é.txt")
    hub.commit(repository, written(apart, "from a Mac")).raise_for_status()
    assert hub.http().get(f"/{repository}/resolve/main/{quote(apart)}").text == "from a Mac"
    assert len(hub.api().get_paths_info(repository, [apart])) == 1
    hub.commit(repository, deleted(apart)).raise_for_status()
    assert hub.api().list_repo_files(repository) == [".gitattributes"]


@pytest.mark.parametrize(
    ("first", "second"),
    [("README.md", "readme.md"), ("Data/a.txt", "data/b.txt"), ("a/Ü.txt", "a/ü.txt"), ("é.txt", "e\u0301.txt")],
)
def test_two_names_that_are_one_on_other_systems_do_not_stand_beside_each_other(hub: Workplace, first: str, second: str):
    together, apart = hub.new(), hub.new()
    hub.commit(apart, written(first, "first")).raise_for_status()
    one_file = unicodedata.normalize("NFC", first) == unicodedata.normalize("NFC", second)
    for answer in (hub.commit(together, written(first), written(second)), hub.commit(apart, written(second, "second"))):
        assert answer.status_code == (200 if one_file else 422), answer.text
    assert len(hub.api().list_repo_files(apart)) == 2
    expected = "second" if one_file else "first"
    assert hub.http().get(f"/{apart}/resolve/main/{quote(first)}").text == expected


def test_a_file_is_renamed_by_case_in_one_commit(hub: Workplace):
    repository = hub.new()
    hub.commit(repository, written("readme.md"), written("Data/x")).raise_for_status()
    changes: list[Operation] = [deleted("readme.md"), written("README.md"), deleted("Data/"), written("data/x")]
    hub.commit(repository, *changes).raise_for_status()
    assert sorted(hub.api().list_repo_files(repository)) == [".gitattributes", "README.md", "data/x"]


def test_a_file_and_a_folder_do_not_share_a_name(hub: Workplace):
    repository = hub.new()
    hub.commit(repository, written("a/b.txt"), written("file")).raise_for_status()
    for refused in (
        [written("a")],
        [written("file/inner")],
        [written("new"), written("new/inner")],
        [written("x/y/z"), written("x/y")],
    ):
        assert hub.commit(repository, *refused).status_code == 422
    hub.commit(repository, deleted("a/b.txt"), written("a"), deleted("file"), written("file/inner")).raise_for_status()
    assert sorted(hub.api().list_repo_files(repository)) == [".gitattributes", "a", "file/inner"]
    hub.commit(repository, deleted("file/"), written("file")).raise_for_status()
    assert sorted(hub.api().list_repo_files(repository)) == [".gitattributes", "a", "file"]


@pytest.mark.parametrize(
    "path", ["..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/hub.sqlite3", "a%00b", "%5c..%5chub.sqlite3", "..%5c..%5cx"]
)
def test_no_address_leads_out_of_a_repository(hub: Workplace, path: str):
    repository = hub.new()
    for address in (
        f"/{repository}/resolve/main/{path}",
        f"/api/models/{repository}/tree/main/{path}",
        f"/{repository}/blob/main/{path}",
    ):
        assert hub.http().get(address).status_code == 404


@pytest.mark.parametrize(
    "name", ["..", ".", "-a", "a-", "a--b", "a..b", "a/b", "a b", "é", "x" * 97, "a.git", "", ".git", "a\n", "a\x00"]
)
def test_a_repository_has_a_name_that_addresses_can_carry(hub: Workplace, name: str):
    assert hub.http().post("/api/repos/create", json={"name": name, "organization": "anna"}).status_code == 400
    path = hub.new()
    move = {"fromRepo": path, "toRepo": f"anna/{name}", "type": "model"}
    assert hub.http().post("/api/repos/move", json=move).status_code == 400
