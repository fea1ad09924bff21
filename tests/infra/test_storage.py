import errno
import os
from pathlib import Path

import pytest

from infra.errors import HomeError
from infra.storage import content_hash, disk_errors, new_folder, write_text

pytestmark = pytest.mark.fast


def test_a_folder_that_fails_leaves_nothing_behind_and_keeps_what_stood_there(tmp_path: Path):
    final = tmp_path / "model"
    with new_folder(final) as folder:
        (folder / "weights").write_text("old")

    def fail_halfway() -> None:
        with new_folder(final) as folder:
            (folder / "weights").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert (final / "weights").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_leftovers_of_killed_writers_are_swept_and_those_of_living_ones_are_not(tmp_path: Path):
    stale, living = tmp_path / ".model.abc", tmp_path / ".model.def"
    for folder in (stale, living):
        folder.mkdir()
    os.utime(stale, (0, 0))
    with new_folder(tmp_path / "model"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".model.def", "model"]


def test_a_full_disk_is_told_in_one_line_with_what_to_do(tmp_path: Path):
    with pytest.raises(HomeError, match=r"disk of .* is full. Free some space"), disk_errors(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_no_half_written_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", no_space)
    with pytest.raises(HomeError, match="is full"):
        write_text(tmp_path / "data.jsonl", "text")
    assert list(tmp_path.iterdir()) == []


def test_content_addresses_go_by_value():
    assert content_hash({"a": 1, "b": [2]}) == content_hash({"b": [2], "a": 1})
    assert content_hash({"a": 1}) != content_hash({"a": 2})
    with pytest.raises(TypeError, match="no stable JSON form"):
        content_hash(object())
