"""Strange queries, revisions, ranges and patterns are answered, quickly, and never with a server's error."""

import time

import pytest

from tests.builders.hubs import Workplace, written

pytestmark = pytest.mark.fast

_SERVERS_ERROR = 500
_QUICK_S = 1.0
_QUERIES = [
    *(
        "limit=0",
        "limit=-1",
        "cursor=x",
        "p=99999999999999999999",
        "expand=%00",
        "filter=%FF",
        "search=%25",
        "sort=x",
        "blobs=maybe",
    ),
    *(f"{name}={'9' * 5000}" for name in ("limit", "cursor", "p", "signature=&expires")),
    "expires=%C3%A9&signature=%C3%A9",
]
_REVISIONS = [
    *("a%0Db", "a%0D%0AX-Injected:%201", "%00", "refs%2F", "refs%2Fpr%2Fx", "%F0%9F%98%80", "'--", "main%2F.."),
    *("9" * 5000, "refs%2Fpr%2F" + "9" * 30),
]
_RANGES = [
    "bytes=0-" + "9" * 5000,
    "bytes=-" + "9" * 30,
    "bytes=5-3",
    "bytes=9-",
    "bytes=-0",
    "lines=0-1",
    "bytes=0-0,2-3",
    "bytes=x",
]


@pytest.fixture(scope="module")
def whole(hub: Workplace) -> Workplace:
    """A Hub with a model named anna/whole."""
    hub.create("whole")
    hub.commit("anna/whole", written("README.md")).raise_for_status()
    return hub


@pytest.mark.parametrize("query", _QUERIES)
def test_no_query_makes_the_hub_fail(whole: Workplace, query: str):
    for path in ("/api/models", "/", "/api/models/anna/whole", "/api/models/anna/whole/tree/main", "/api/models/anna/whole/commits/main",
                 "/api/models/anna/whole/discussions", "/sign-in", "/api/collections", f"/api/lfs/x/{'0' * 64}/5/0"):  # fmt: skip
        assert whole.http().get(f"{path}?{query}").status_code < _SERVERS_ERROR, path
    assert whole.http().put(f"/api/lfs/x/{'0' * 64}/5/0?{query}").status_code == 403


@pytest.mark.parametrize("revision", _REVISIONS)
def test_a_strange_revision_is_answered_and_injects_nothing(whole: Workplace, revision: str):
    for path in (f"/api/models/anna/whole/revision/{revision}", f"/anna/whole/resolve/{revision}/README.md", f"/anna/whole/tree/{revision}",
                 f"/api/models/anna/whole/discussions/{revision}", f"/anna/whole/discussions/{revision}"):  # fmt: skip
        answer = whole.http().get(path)
        assert (answer.status_code, "x-injected" in answer.headers) == (404, False), path
    assert whole.commit("anna/whole", written("a.txt"), revision=revision).status_code == 404


@pytest.mark.parametrize("wanted", _RANGES)
def test_a_strange_range_is_answered(whole: Workplace, wanted: str):
    answer = whole.http().get("/anna/whole/resolve/main/README.md", headers={"Range": wanted})
    assert answer.status_code in (200, 206, 416)
    assert answer.status_code == 416 or answer.text == "text"


@pytest.mark.parametrize("pattern", ["!", "/", "[", "\\", "a" * 5000, "\x00", "!!!", "[!]", "#", "!*.log2"])
def test_a_strange_pattern_does_not_keep_anybody_from_uploading(hub: Workplace, pattern: str):
    repository = hub.new()
    strange = [written(".gitignore", f"{pattern}\n*.log\n"), written(".gitattributes", f"{pattern} filter=lfs\n")]
    hub.commit(repository, *strange).raise_for_status()
    assert [file["shouldIgnore"] for file in _preupload(hub, repository)] == [False, True]


@pytest.mark.parametrize("place", [".gitignore", ".gitattributes"])
def test_no_pattern_holds_up_the_hub(hub: Workplace, place: str):
    """Five stars are seconds to a matcher that tries every way; many more would be years."""
    repository = hub.new()
    hub.commit(repository, written(place, f"{'*a' * 5}*b filter=lfs\n{'*a' * 5}*b\n*.log\n")).raise_for_status()
    started = time.monotonic()
    _preupload(hub, repository, "a" * 150)
    assert time.monotonic() - started < _QUICK_S


def _preupload(hub: Workplace, repository: str, *more: str) -> list[dict[str, object]]:
    files = [{"path": path, "size": 1, "sample": ""} for path in ("b.txt", "b.log", *more)]
    answer = hub.http().post(f"/api/models/{repository}/preupload/main", json={"files": files})
    answered: list[dict[str, object]] = answer.raise_for_status().json()["files"]
    return answered
