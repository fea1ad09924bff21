"""Folders of one repository as Git's trees: a change rewrites the folders on its way to the root and shares all others."""

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from infra.local_hub.identity import EMPTY_TREE, FOLDER_MODE, tree_content, tree_id
from infra.local_hub.paths import composed
from infra.local_hub.refusal import unprocessable

_OID_BYTES = 20
_REMEMBERED = 64  # folders


@dataclass(frozen=True)
class Entry:
    """What a folder says of one name in it: the blob's or tree's id."""

    is_folder: bool
    oid: str


_NO_FOLDER = Entry(is_folder=False, oid="")


class Trees:
    """The folders of one repository, through one database connection."""

    def __init__(self, database: sqlite3.Connection, repository: str) -> None:
        self._database, self._repository = database, repository
        self._lately: dict[str, Mapping[str, Entry]] = {}

    def folder(self, oid: str) -> Mapping[str, Entry]:
        """The entries of one folder, in Git's order."""
        if oid == EMPTY_TREE:
            return {}
        if oid not in self._lately:
            row = self._database.execute(
                "SELECT content FROM trees WHERE repository = ? AND oid = ?", [self._repository, oid]
            ).fetchone()
            if len(self._lately) == _REMEMBERED:
                self._lately.clear()
            self._lately[oid] = _parse(row["content"])
        return self._lately[oid]

    def find(self, root: str, path: str) -> Entry | None:
        """The entry of a path, however its letters are composed; the root itself for an empty one."""
        entry = Entry(is_folder=True, oid=root)
        for name in composed(path).split("/") if path else ():
            found = self.folder(entry.oid).get(name) if entry.is_folder else None
            if found is None:
                return None
            entry = found
        return entry

    def walk(self, root: str, prefix: str = "", into: bool = True) -> Iterator[tuple[str, Entry]]:
        """Paths and entries below a folder; `prefix` stands before every path, `into` descends."""
        for name, entry in self.folder(root).items():
            path = f"{prefix}/{name}" if prefix else name
            yield path, entry
            if into and entry.is_folder:
                yield from self.walk(entry.oid, path)

    def files(self, root: str) -> dict[str, str]:
        """Blob id by path of every file."""
        return {path: entry.oid for path, entry in self.walk(root) if not entry.is_folder}

    def edit(self, root: str, changes: Mapping[str, str | None]) -> str:
        """The root after writing (a blob id) or deleting (None) paths; folders that become empty vanish.

        Raises:
            Refusal: a file stands where a folder is needed or the reverse, or two names differ in case only.

        """
        return self._edit(root, changes, "") or EMPTY_TREE

    def _edit(self, oid: str, changes: Mapping[str, str | None], at: str) -> str | None:
        entries = dict(self.folder(oid))
        here: dict[str, str | None] = {}
        below: dict[str, dict[str, str | None]] = {}
        for path, blob in changes.items():
            name, _, rest = path.partition("/")
            if rest:
                below.setdefault(name, {})[rest] = blob
            else:
                here[name] = blob
        for name in here:
            if here[name] is None and not entries.get(name, _NO_FOLDER).is_folder:
                entries.pop(name, None)
        for name, inner in below.items():
            self._edit_below(entries, name, inner, at)
        for name, blob in here.items():
            if blob is not None:
                if entries.get(name, _NO_FOLDER).is_folder:
                    raise unprocessable(f"{at}{name} is a folder, a file cannot take its place")
                entries[name] = Entry(is_folder=False, oid=blob)
        written = {path.partition("/")[0] for path, blob in changes.items() if blob is not None}
        _refuse_case_collisions(entries, written, at)
        return self._write(entries)

    def _edit_below(self, entries: dict[str, Entry], name: str, changes: Mapping[str, str | None], at: str) -> None:
        entry = entries.get(name, Entry(is_folder=True, oid=EMPTY_TREE))
        if not entry.is_folder:
            if any(blob is not None for blob in changes.values()):
                raise unprocessable(f"{at}{name} is a file, it cannot hold other files")
            return
        made = self._edit(entry.oid, changes, f"{at}{name}/")
        if made is None:
            entries.pop(name, None)
        else:
            entries[name] = Entry(is_folder=True, oid=made)

    def _write(self, entries: dict[str, Entry]) -> str | None:
        if not entries:
            return None
        content = tree_content((name, entry.is_folder, entry.oid) for name, entry in entries.items())
        oid = tree_id(content)
        self._database.execute("INSERT OR IGNORE INTO trees VALUES (?, ?, ?)", [self._repository, oid, content])
        return oid


def _refuse_case_collisions(entries: dict[str, Entry], written: set[str], at: str) -> None:
    """On many systems a file name has no case: there one of two such files would silently replace the other."""
    folded: dict[str, str] = {}
    for name in entries:
        other = folded.setdefault(name.casefold(), name)
        if other != name and (name in written or other in written):
            raise unprocessable(f"{at}{name} and {at}{other} differ in case only")


def _parse(content: bytes) -> dict[str, Entry]:
    entries, position = {}, 0
    while position < len(content):
        space = content.index(b" ", position)
        end = content.index(b"\0", space)
        oid = content[end + 1 : end + 1 + _OID_BYTES].hex()
        entries[content[space + 1 : end].decode()] = Entry(content[position:space] == FOLDER_MODE, oid)
        position = end + 1 + _OID_BYTES
    return entries
