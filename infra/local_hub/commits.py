"""A commit as clients send it: one JSON line for the header, one for each file, applied whole or not at all.

The lines are read from a file inside one transaction, and each content is written at once, so that the size of a commit does not matter
and nothing of a refused one stays. The price: others wait with their writing until it is through. That is why a commit has a limited
number of lines, and no line takes longer the more others there are.
"""

import base64
import re
import secrets
import sqlite3
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from infra.local_hub.accounts import Viewer
from infra.local_hub.blobs import Blobs
from infra.local_hub.fields import Fields
from infra.local_hub.history import Commit, History
from infra.local_hub.lines import Line, Lines
from infra.local_hub.paths import checked_path
from infra.local_hub.refusal import Refusal, bad_request, unknown_entry
from infra.local_hub.store import Store
from infra.local_hub.trees import Trees

_LONGEST_HEADER_BYTES, _MOST_PATH_CHARACTERS = 1 << 16, 4 << 20
_FOLDER_END, _AFTER_FOLDER_END = "/", "0"  # neighbours: what sorts between them is in the folder
_OPERATIONS = ("file", "lfsFile", "deletedFile", "deletedFolder")
_COMMIT = re.compile(r"[0-9a-f]{7,40}")


@dataclass
class Draft:
    """A commit's header, and what its lines come to: for each path the blob's id, or None for deletion."""

    title: str = ""
    message: str = ""
    changes: dict[str, str | None] = field(default_factory=dict)
    large_files: dict[str, str] = field(default_factory=dict)  # path by SHA-256


def read_draft(database: sqlite3.Connection, store: Store, history: History, stream: BinaryIO, base: Commit) -> Draft:
    """Read the lines of a commit on top of `base`, and keep their contents.

    Raises:
        Refusal: a line is broken or too long, there are too many (413), it was made for another commit than `base` (412), a path is
            not allowed, a large file was not uploaded, or a file to delete is not there.

    """
    reader, scratch = _Reader(database, store, history, base), store.folder / "uploads" / f"commit-{secrets.token_hex(8)}"
    try:
        for line in Lines(stream, scratch):
            reader.take(line)
    finally:
        scratch.unlink(missing_ok=True)
    return reader.draft()


def apply_draft(database: sqlite3.Connection, history: History, draft: Draft, author: Viewer, base: Commit) -> Commit:
    """Make the commit on top of `base`; `base` itself where nothing changes.

    Raises:
        Refusal: names collide.

    """
    tree = history.trees(database).edit(base.tree, draft.changes)
    if tree == base.tree:
        return base
    return history.add_commit(database, author, tree, base.oid, draft.title, draft.message)


class _Reader:
    """Takes the lines of a commit, one after the other."""

    def __init__(self, database: sqlite3.Connection, store: Store, history: History, base: Commit) -> None:
        self._database, self._store, self._history, self._base = database, store, history, base
        self._draft, self._begun = Draft(), False
        self._changes = _Changes(history.trees(database), base, self._draft.changes)
        self._blobs = Blobs(store, history.repository.id)
        self._path_characters_left = _MOST_PATH_CHARACTERS

    def draft(self) -> Draft:
        """What all lines came to.

        Raises:
            Refusal: there was not even a header.

        """
        if not self._begun:
            raise bad_request("The first line of a commit must be its header with a summary")
        return self._draft

    def take(self, line: Line) -> None:
        """Do what a line says.

        Raises:
            Refusal: it cannot be done.

        """
        if "value" not in line.fields:
            raise bad_request("A line of the commit has no value")
        key, value = line.fields.text("key"), line.fields.inner("value")
        if self._begun:
            self._change(key, value, line.content)
        else:
            self._begin(key, value, line.length)

    def _begin(self, key: str, header: Fields, length: int) -> None:
        if key != "header" or not header.text("summary"):
            raise bad_request("The first line of a commit must be its header with a summary")
        if length > _LONGEST_HEADER_BYTES:
            raise Refusal(413, f"The summary and description of a commit are longer than {_LONGEST_HEADER_BYTES} bytes")
        _check_parent(header.text("parentCommit"), self._base)
        self._draft.title, self._draft.message = header.text("summary"), header.text("description")
        self._begun = True

    def _change(self, key: str, value: Fields, content: Path | None) -> None:
        if key not in _OPERATIONS:
            raise bad_request(f"Unknown operation in a commit: {key[:100]!r}")
        sent = value.text("path")
        path = checked_path(sent.rstrip(_FOLDER_END) if key.startswith("deleted") else sent)
        self._path_characters_left -= len(path)
        if self._path_characters_left < 0:
            raise Refusal(413, f"The paths of a commit are longer than {_MOST_PATH_CHARACTERS} characters: make several")
        if key == "file":
            blobs, database = self._blobs, self._database
            self._changes.write(path, blobs.add_file(database, content) if content else blobs.add(database, _content(value)))
        elif key == "lfsFile":
            sha256 = value.text("oid").lower()
            size = _held_size(self._store, self._history, sha256, value)
            self._changes.write(path, self._blobs.add_lfs(self._database, sha256, size))
            self._draft.large_files[sha256] = path
        else:
            self._changes.delete(path, as_folder=key == "deletedFolder")


class _Changes:
    """What the lines of a commit come to, one after the other."""

    def __init__(self, trees: Trees, base: Commit, changes: dict[str, str | None]) -> None:
        self._trees, self._base, self._changes = trees, base, changes
        self._written: list[str] = []  # paths, sorted
        self._emptied: set[str] = set()  # folders of `base`

    def write(self, path: str, blob: str) -> None:
        """Let a file have that content."""
        if not self._changes.get(path):
            insort(self._written, path)
        self._changes[path] = blob

    def delete(self, path: str, as_folder: bool) -> None:
        """Delete a file or a folder with all files in it, as they are now.

        Raises:
            Refusal: there is none.

        """
        entry = self._trees.find(self._base.tree, path)
        start, end = (bisect_left(self._written, path + after) for after in (_FOLDER_END, _AFTER_FOLDER_END))
        gone = self._written[start:end]
        del self._written[start:end]
        if entry and entry.is_folder:
            if path not in self._emptied:
                gone += [name for name, inner in self._trees.walk(entry.oid, path) if not inner.is_folder]
            self._emptied.add(path)
        elif not as_folder and (entry or self._changes.get(path)):
            gone.append(path)
            self._forget(path)
        if not gone and path not in self._emptied:
            raise unknown_entry(f"A {'folder' if as_folder else 'file'} with this name doesn't exist")
        self._changes.update(dict.fromkeys(gone))

    def _forget(self, path: str) -> None:
        if self._changes.get(path):
            del self._written[bisect_left(self._written, path)]


def _check_parent(parent: str, head: Commit) -> None:
    if parent and not _COMMIT.fullmatch(parent):
        raise bad_request("parentCommit is no commit id of 7 to 40 hex digits")
    if not head.oid.startswith(parent):
        raise Refusal(412, "The branch was updated since you opened this page. Please refresh and try again.")


def _content(value: Fields) -> bytes:
    content, encoding = value.optional_text("content"), value.text("encoding", "utf-8")
    if content is None or encoding not in ("base64", "utf-8"):
        raise bad_request(f"The content of {value.text('path')!r} is neither base64 nor utf-8")
    try:
        return base64.b64decode(content, validate=True) if encoding == "base64" else content.encode()
    except ValueError as error:
        raise bad_request(f"The content of {value.text('path')!r} is no base64") from error


def _held_size(store: Store, history: History, sha256: str, value: Fields) -> int:
    row = store.first("SELECT size FROM holdings WHERE repository = ? AND sha256 = ?", [history.repository.id, sha256])
    path, said = value.text("path"), value.number("size")
    if row is None:
        raise bad_request(f"Your push was rejected: the large file of {path!r} ({sha256[:64]}) was not uploaded")
    if said not in (None, row["size"]):
        raise bad_request(f"{path} is said to have {said} bytes, {row['size']} were uploaded")
    return int(row["size"])
