"""Lines of a commit that are read in pieces say what they say when they are read whole."""

import base64
import json
import random
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from infra.local_hub import lines
from infra.local_hub.lines import Lines
from infra.local_hub.refusal import Refusal
from tests.builders.hubs import Workplace, written

pytestmark = pytest.mark.fast

_BYTES = random.Random(1).randbytes(400)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where long contents go, in very short pieces."""
    monkeypatch.setattr(lines, "_PIECE_BYTES", 64)
    monkeypatch.setattr(lines, "_LONGEST_TEXT_BYTES", 600)
    return tmp_path / "scratch"


def _read(text: bytes, scratch: Path) -> list[tuple[str, bytes]]:
    """Path and content of each line."""
    found = []
    for line in Lines(BytesIO(text), scratch):
        value = line.fields.inner("value")
        content = value.text("content")
        decoded = base64.b64decode(content) if value.text("encoding") == "base64" else content.encode()
        found.append((value.text("path"), line.content.read_bytes() if line.content else decoded))
    return found


def _line(content: str, path: str = "a.txt", encoding: str = "base64", order: tuple[int, ...] = (0, 1, 2)) -> bytes:
    fields = [("content", content), ("path", path), ("encoding", encoding)]
    return json.dumps({"key": "file", "value": dict(fields[place] for place in order)}).encode()


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (1, 2, 0)])
def test_a_content_of_any_length_is_read_as_it_was_sent(scratch: Path, order: tuple[int, ...]):
    contents = [_BYTES[:length] for length in range(300)]
    text = b"\n".join(_line(base64.b64encode(content).decode(), order=order) for content in contents)
    for ending in (b"", b"\n", b"\n\n \n"):
        assert _read(text + ending, scratch) == [("a.txt", content) for content in contents]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (_line("a" * 200, encoding="utf-8"), b"a" * 200),
        (_line("a " * 100, encoding="utf-8"), b"a " * 100),
        (_line("a" * 100 + 'ü"' * 20, encoding="utf-8"), ("a" * 100 + 'ü"' * 20).encode()),
        (_line(base64.b64encode(b"?" * 150).decode()).replace(b"/", b"\\/"), b"?" * 150),
        (_line(base64.b64encode(b"x" * 99).decode()).replace(b'": "', b'" :  "'), b"x" * 99),
        (_line("A" * 200 + "AAA="), b"\0" * 152),
    ],
    ids=["like base64", "text", "text with escapes", "escaped slashes", "spaces", "padded"],
)
def test_what_only_looks_like_base64_is_read_as_what_it_is(scratch: Path, text: bytes, expected: bytes):
    assert _read(b"\n".join([text, text]), scratch) == [("a.txt", expected)] * 2


def test_words_in_a_path_or_a_title_are_no_content(scratch: Path):
    path = 'x"content": "' + "A" * 100 + '"'
    assert _read(_line("QUJD", path, order=(1, 0, 2)), scratch) == [(path, b"ABC")]
    header = {"key": "header", "value": {"summary": 'the "content": "' + "A" * 100 + '"'}}
    (line,) = Lines(BytesIO(json.dumps(header).encode()), scratch)
    assert (line.fields.inner("value").text("summary"), line.content) == (header["value"]["summary"], None)  # type: ignore[index]


@pytest.mark.parametrize(
    "wrong", ["A" * 100 + "=" + "A" * 99, "=" + "A" * 99, "A" * 101, "AA==" * 50, "A" * 60 + "====" + "A" * 60]
)
def test_broken_base64_is_left_to_be_refused(scratch: Path, wrong: str):
    (line,) = Lines(BytesIO(_line(wrong)), scratch)
    assert (line.content, line.fields.inner("value").text("content")) == (None, wrong)


@pytest.mark.parametrize(
    "text", [_line("A" * 900 + "%"), _line("a" * 700, encoding="utf-8"), _line("QUJD" * 50, "p" * 700), b" " * 700, b"[" * 700]
)
def test_only_base64_may_be_long(scratch: Path, text: bytes):
    with pytest.raises(Refusal) as told:
        list(Lines(BytesIO(text), scratch))
    assert told.value.status in (400, 413)


def test_what_breaks_off_is_refused(scratch: Path):
    whole = _line(base64.b64encode(_BYTES).decode())
    for length in range(1, len(whole)):
        with pytest.raises(Refusal):
            list(Lines(BytesIO(whole[:length]), scratch))


def _post(hub: Workplace, repository: str, *operations: Any) -> tuple[int, str]:
    answer = hub.commit(repository, *operations)
    return answer.status_code, answer.json().get("error", "")


def test_a_file_that_is_just_too_small_for_lfs_is_committed_and_a_larger_line_refused(hub: Workplace):
    repository, content = hub.new(), random.Random(2).randbytes(9_999_999)
    assert hub.commit(repository, written("a.txt", content)).status_code == 200
    assert hub.http().get(f"/{repository}/resolve/main/a.txt").content == content
    status, said = _post(hub, repository, written("b.txt", content + bytes(100_000)))
    assert (status, "by LFS" in said) == (413, True)
    assert list((hub.hub.store.folder / "uploads").iterdir()) == []


def test_a_commit_of_too_much_is_refused_in_words(hub: Workplace):
    repository = hub.new()
    too_many = [written(f"{number}.txt") for number in range(25_001)]
    status, said = _post(hub, repository, *too_many)
    assert (status, "make several" in said) == (413, True)
    long_paths = [written("/".join([f"{number}", *["a" * 200] * 19])) for number in range(1200)]
    status, said = _post(hub, repository, *long_paths)
    assert (status, "make several" in said) == (413, True)
    answer = hub.commit(repository, written("a.txt"), description="x" * 70_000)
    assert (answer.status_code, "summary and description" in answer.json()["error"]) == (413, True)
    assert len(hub.api().list_repo_commits(repository)) == 1
