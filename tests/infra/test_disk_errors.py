import errno
from pathlib import Path

import pytest

from infra.errors import HomeError
from infra.storage import disk_errors

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("named", ["home", "home/datasets/a.json", ".home.x1y2/wavs/1.wav", "", None])
def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, named: str | None):
    with pytest.raises(HomeError, match=r"home cannot be written: Permission denied"), disk_errors(tmp_path / "home"):
        raise PermissionError(errno.EACCES, "Permission denied", None if named is None else str(tmp_path / named))


@pytest.mark.parametrize("named", ["recordings/1.txt", "home-made/1.txt", ".homes"])
def test_what_cannot_be_read_elsewhere_is_not_told_as_a_home_that_cannot_be_written(tmp_path: Path, named: str):
    with pytest.raises(PermissionError, match=named), disk_errors(tmp_path / "home"):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / named))


def test_a_file_that_cannot_be_moved_to_its_place_is_about_the_place(tmp_path: Path):
    moved, place = str(tmp_path / "uploads" / "a"), tmp_path / "files" / "ab"
    with pytest.raises(HomeError, match="ab cannot be written"), disk_errors(place):
        raise PermissionError(errno.EACCES, "Permission denied", moved, None, str(place))
