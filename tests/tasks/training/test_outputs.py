"""What a run writes down about itself."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tasks.training.outputs import factory_commit

pytestmark = pytest.mark.fast


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="Git is not installed")
def test_the_commit_of_a_checkout_is_told_and_that_files_differ_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert factory_commit(tmp_path) is None
    git(tmp_path, "init")
    assert factory_commit(tmp_path) is None, "nothing is committed"
    (tmp_path / "file").write_text("1")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "one")
    git(tmp_path, "tag", "-a", "v1", "-m", "v1")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert factory_commit(tmp_path) == commit
    (tmp_path / "file").write_text("2")
    assert factory_commit(tmp_path) == f"{commit}-dirty"
    (tmp_path / "inside").mkdir()
    assert factory_commit(tmp_path / "inside") is None, "a folder inside somebody's checkout is not ours"
    monkeypatch.setenv("PATH", "")
    assert factory_commit(tmp_path) is None
