"""Git's names for things: the SHA-1 of a blob, a tree, a commit, and the pointer that stands for a large file.

Formats: the Git book, chapter "Git Objects"; the Git LFS specification v1.
"""

import hashlib
import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

_BLOCK_BYTES = 1 << 16
FILE_MODE, FOLDER_MODE = b"100644", b"40000"
EMPTY_TREE = hashlib.sha1(b"tree 0\0", usedforsecurity=False).hexdigest()


def _name(kind: str, content: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()


def blob_id(content: bytes) -> str:
    """Name of a file's bytes."""
    return _name("blob", content)


def blob_id_of(path: Path) -> str:
    """The same for bytes that lie in a file."""
    with path.open("rb") as stream:
        digest = hashlib.sha1(f"blob {os.fstat(stream.fileno()).st_size}\0".encode(), usedforsecurity=False)
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def lfs_pointer(sha256: str, size: int) -> bytes:
    """What Git keeps in place of a large file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def tree_content(entries: Iterable[tuple[str, bool, str]]) -> bytes:
    """A folder as Git writes it, from (name, is a folder, id); folders sort as if their names ended with a slash."""
    ordered = sorted(entries, key=lambda entry: entry[0].encode() + (b"/" if entry[1] else b""))
    return b"".join(
        (FOLDER_MODE if is_folder else FILE_MODE) + b" " + name.encode() + b"\0" + bytes.fromhex(oid)
        for name, is_folder, oid in ordered
    )


def tree_id(content: bytes) -> str:
    """Name of a folder, from `tree_content`."""
    return _name("tree", content)


def commit_id(tree: str, parents: Iterable[str], author: str, email: str, date: datetime, message: str) -> str:
    """Name of a commit; `date` is aware, Git keeps whole seconds."""
    stamp = f"{author} <{email}> {int(date.timestamp())} +0000"
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents), f"author {stamp}", f"committer {stamp}", "", message]
    return _name("commit", "\n".join(lines).encode())
