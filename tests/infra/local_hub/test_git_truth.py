"""What the Hub names by a hash, Git names by the same: the real `git` is asked."""

import hashlib
import os
import random
import shutil
import subprocess
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from infra.local_hub.blobs import default_gitattributes, goes_to_lfs
from infra.local_hub.history import History
from infra.local_hub.identity import lfs_pointer
from tests.builders.hubs import Operation, Workplace, deleted, named, written

pytestmark = [pytest.mark.fast, pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")]

_NAMES = ["a", "a.b", "a-b", "a0", "B", "Ü", "日本", "b c", ".hidden", "z" * 200, "%41", "é", "a=b", "~", "😀"]
_BRANCHES = [
    *(
        "a",
        "a/b",
        "feat/x y",
        "a..b",
        "a~1",
        "a^",
        "a:b",
        "a?",
        "a*",
        "a[",
        "a\\b",
        "/a",
        "a/",
        "a//b",
        ".a",
        "a/.b",
        "a.lock",
        "a.",
    ),
    *("a@{b", "é", "a\x7f", "-a", "a\tb", "HEAD", "a.lock/b", "a.b/c", "@a", "日本"),
]
_ATTRIBUTES = f"""{default_gitattributes()}data/*.csv filter=lfs
/top.txt filter=lfs
logs/** filter=lfs
**/deep.txt filter=lfs
*.not filter=lfs
keep.not -filter
special.not !filter
[ab].x filter=lfs
# *.md filter=lfs
other.y filter=other
img/*.png filter=lfs -text
"""
_PATHS = """
    w.bin a/w.bin data/x.csv data/sub/x.csv x.csv top.txt a/top.txt logs/a logs/a/b deep.txt a/b/deep.txt x.not keep.not a/keep.not
    special.not a.x b.x c.x z/a.x README.md other.y img/p.png img/a/p.png a/img/p.png saved_model/a/b saved_model/a x.tar.gz
    a.tar.b/c model.onnx x.tfevents xtfevents events.out.tfevents.1 .gitattributes model.safetensors.index.json x.BIN
""".split()


class Git:
    """A bare repository of the real git."""

    def __init__(self, folder: Path) -> None:
        self._environment = {"GIT_DIR": str(folder), "PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
        folder.mkdir()
        self("init", "--bare", "--quiet")

    def __call__(self, *arguments: str, given: bytes = b"") -> str:
        done = subprocess.run(["git", *arguments], env=self._environment, input=given, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def write(self, kind: str, content: bytes) -> str:
        """Keep an object after checking its format; its name."""
        return self("hash-object", "-t", kind, "-w", "--stdin", given=content)

    def tree(self, files: dict[str, str]) -> str:
        """The name of a tree with blobs by path, made by Git alone."""
        self("read-tree", "--empty")
        lines = "".join(f"100644 {oid}\t{path}\0" for path, oid in files.items())
        self("update-index", "-z", "--index-info", given=lines.encode())
        return self("write-tree")


@pytest.fixture
def git(tmp_path: Path) -> Git:
    return Git(tmp_path / "git")


def _history(hub: Workplace, repository: str) -> History:
    found = hub.hub.repositories.named("model", repository)
    assert found is not None
    return hub.hub.history(found)


@pytest.mark.parametrize("seed", range(3))
def test_trees_and_blobs_have_gits_names_whatever_was_changed(hub: Workplace, git: Git, seed: int):
    chance, repository = random.Random(seed), hub.new()
    files: dict[str, bytes] = {".gitattributes": default_gitattributes().encode()}
    for step in range(8):
        operations: list[Operation] = []
        for path in chance.sample(sorted(files), min(len(files) - 1, step)):
            operations.append(deleted(path))
            del files[path]
        for number in range(12):
            path = "/".join(chance.sample(_NAMES, chance.randint(1, 4)))
            if not any(other.startswith(f"{path}/") or path.startswith(f"{other}/") for other in files):
                files[path] = chance.randbytes(chance.choice([0, 1, 100, 70_000])) if number else b"\r\n\r\n"
                operations.append(written(path, files[path]))
        hub.commit(repository, *operations).raise_for_status()
        history = _history(hub, repository)
        expected = {path: git.write("blob", content) for path, content in files.items()}
        head = history.commit("main")
        assert history.trees().files(head.tree) == expected
        assert head.tree == git.tree(expected)
    listed = {
        item.path: item.blob_id for item in hub.api().list_repo_tree(repository, recursive=True) if hasattr(item, "blob_id")
    }
    assert listed == expected


def test_a_large_file_is_its_pointer_to_git(hub: Workplace, git: Git):
    repository, content = hub.new(), b"weights" * 1000
    hub.commit(repository, named("w.bin", hub.put_large(repository, content))).raise_for_status()
    (item,) = hub.api().get_paths_info(repository, "w.bin")
    sha256 = hashlib.sha256(content).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(content)}\n".encode()
    assert item.blob_id == git.write("blob", pointer)  # type: ignore[union-attr]
    assert item.lfs is not None  # type: ignore[union-attr]
    assert item.lfs.pointer_size == len(pointer)  # type: ignore[union-attr]


def test_git_reads_the_whole_history_and_finds_no_fault_in_it(hub: Workplace, git: Git):
    api, repository = hub.api(), hub.new()
    hub.commit(repository, written("a/b.txt", "one"), description="Two lines\n\nof Ümlauts.").raise_for_status()
    hub.commit(repository, written("a/b.txt", "two"), written("a.b", "x" * 100_000), summary="Zwei: größer").raise_for_status()
    hub.commit(repository, named("w.bin", hub.put_large(repository, b"large"))).raise_for_status()
    pull = hub.commit(repository, written("c.txt"), pull=True).json()["pullRequestUrl"].rpartition("/")[2]
    api.merge_pull_request(repository, int(pull))
    history = _history(hub, repository)
    for row in hub.hub.store.read(
        "SELECT oid, content, lfs, sha256, size FROM blobs WHERE repository = ?", [history.repository.id]
    ):
        kept = row["content"] if row["content"] is not None else hub.hub.store.file(row["sha256"]).read_bytes()
        assert git.write("blob", lfs_pointer(row["sha256"], row["size"]) if row["lfs"] else kept) == row["oid"]
    for row in hub.hub.store.read("SELECT oid, content FROM trees WHERE repository = ?", [history.repository.id]):
        assert git.write("tree", row["content"]) == row["oid"]
    for commit in reversed(list(history.log(history.commit("main")))):
        stamp = f"{commit.author} <> {int(datetime.fromisoformat(commit.date).timestamp())} +0000"
        parent = f"parent {commit.parent}\n" if commit.parent else ""
        text = f"{commit.title}\n\n{commit.message}" if commit.message else commit.title
        content = f"tree {commit.tree}\n{parent}author {stamp}\ncommitter {stamp}\n\n{text}"
        assert git.write("commit", content.encode()) == commit.oid
    head = history.commit("main").oid
    git("update-ref", "refs/heads/main", head)
    git("fsck", "--strict", "--full")
    assert git("log", "--format=%H", head).split() == [commit.commit_id for commit in api.list_repo_commits(repository)]
    assert git("show", f"{head}:a/b.txt") == "two"


@pytest.mark.parametrize("name", _BRANCHES)
def test_a_branch_may_be_called_what_git_lets_it(hub: Workplace, git: Git, name: str):
    allowed = (
        subprocess.run(["git", "check-ref-format", "--branch", name], capture_output=True, check=False, cwd="/").returncode == 0
    )
    answer = hub.http().post(f"/api/models/{hub.new()}/branch/{quote(name, safe='')}", json={})
    assert (answer.status_code == 200) == allowed, answer.text


def test_a_branch_cannot_lie_below_another(hub: Workplace):
    repository = hub.new()
    hub.api().create_branch(repository, branch="a")
    assert hub.http().post(f"/api/models/{repository}/branch/a%2Fb", json={}).status_code in (400, 409)
    assert hub.http().post(f"/api/models/{repository}/branch/main%2Fb", json={}).status_code in (400, 409)


def test_git_and_the_hub_send_the_same_files_to_lfs(tmp_path: Path):
    (tmp_path / ".gitattributes").write_text(_ATTRIBUTES)
    run = {"cwd": tmp_path, "capture_output": True, "check": True}
    subprocess.run(["git", "init", "--quiet"], **run)  # type: ignore[call-overload]
    said = subprocess.run(["git", "check-attr", "-z", "filter", "--", *_PATHS], **run).stdout.decode().split("\0")  # type: ignore[call-overload]
    by_git = {path for path, value in zip(said[::3], said[2::3], strict=False) if value == "lfs"}
    by_hub = {path for path in _PATHS if goes_to_lfs(path, 5, _ATTRIBUTES)}
    assert by_hub ^ by_git == set()
    assert len(by_git) > 12
