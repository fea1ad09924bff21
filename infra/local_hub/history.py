"""The history of one repository: revisions, commits, branches, tags."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from infra.local_hub.accounts import Viewer
from infra.local_hub.identity import EMPTY_TREE, commit_id
from infra.local_hub.paths import checked_ref
from infra.local_hub.refusal import Refusal, unknown_revision
from infra.local_hub.repositories import Repository
from infra.local_hub.store import Store, now
from infra.local_hub.trees import Entry, Trees

MAIN = "refs/heads/main"
_OID_LENGTH, _SHORTEST_OID = 40, 7


@dataclass(frozen=True)
class Commit:
    """One commit."""

    oid: str
    tree: str
    parent: str | None
    title: str
    message: str
    author: str
    date: str


@dataclass(frozen=True)
class Reference:
    """A branch, tag or pull request: its full name (refs/heads/main) and the commit that it points to."""

    name: str
    oid: str

    @property
    def short(self) -> str:
        """The name without what kind it is."""
        return self.name.split("/", 2)[2]


class History:
    """Reads and writes the history of one repository. What changes something belongs into `store.transaction()`."""

    def __init__(self, store: Store, repository: Repository) -> None:
        self._store, self.repository = store, repository

    def trees(self, database: sqlite3.Connection | None = None) -> Trees:
        """The folders of this repository."""
        return Trees(database or self._store.database, self.repository.id)

    def references(self) -> list[Reference]:
        """Every branch, tag and pull request."""
        rows = self._store.read("SELECT name, oid FROM refs WHERE repository = ? ORDER BY name", [self.repository.id])
        return [Reference(row["name"], row["oid"]) for row in rows]

    def reference(self, name: str) -> Reference | None:
        """The reference of that full name."""
        row = self._store.first("SELECT name, oid FROM refs WHERE repository = ? AND name = ?", [self.repository.id, name])
        return Reference(row["name"], row["oid"]) if row else None

    def branch(self, revision: str) -> Reference:
        """The branch or pull request that a revision names: what can be committed to.

        Raises:
            Refusal: RevisionNotFound; a commit's id is no branch.

        """
        names = [revision] if revision.startswith("refs/") else [f"refs/heads/{revision}"]
        found = next((reference for name in names if (reference := self.reference(name))), None)
        if found is None or found.name.startswith("refs/tags/"):
            raise unknown_revision(revision)
        return found

    def commit(self, revision: str) -> Commit:
        """The commit that a branch, a tag, a full reference name or a commit id (at least 7 digits) names.

        Raises:
            Refusal: RevisionNotFound.

        """
        names = [revision] if revision.startswith("refs/") else [f"refs/heads/{revision}", f"refs/tags/{revision}"]
        for name in names:
            if reference := self.reference(name):
                return self.by_oid(reference.oid)
        if _SHORTEST_OID <= len(revision) <= _OID_LENGTH and all(digit in "0123456789abcdef" for digit in revision):
            rows = self._store.read(
                "SELECT * FROM commits WHERE repository = ? AND oid >= ? AND oid < ? LIMIT 2",
                [self.repository.id, revision, revision + "g"],
            )
            if len(rows) == 1:
                return _commit(rows[0])
        raise unknown_revision(revision)

    def by_oid(self, oid: str) -> Commit:
        """The commit with that whole id, which exists."""
        return _commit(self._store.read("SELECT * FROM commits WHERE repository = ? AND oid = ?", [self.repository.id, oid])[0])

    def log(self, commit: Commit) -> Iterator[Commit]:
        """A commit and its ancestors, the newest first."""
        while True:
            yield commit
            if commit.parent is None:
                return
            commit = self.by_oid(commit.parent)

    def add_commit(
        self, database: sqlite3.Connection, author: Viewer, tree: str, parent: str | None, title: str, message: str
    ) -> Commit:
        """Write a commit; no reference points to it yet."""
        date = now()
        text = f"{title}\n\n{message}" if message else title
        oid = commit_id(tree, [parent] if parent else [], author.name, "", datetime.fromisoformat(date), text)
        if oid == parent or self._store.first(
            "SELECT 1 FROM commits WHERE repository = ? AND oid = ?", [self.repository.id, oid]
        ):
            text += "\n" + date  # the same change again within one second: another commit, so another name
            oid = commit_id(tree, [parent] if parent else [], author.name, "", datetime.fromisoformat(date), text)
        made = Commit(oid, tree, parent, title, message, author.name, date)
        database.execute(
            "INSERT OR IGNORE INTO commits VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [self.repository.id, oid, tree, parent, title, message, author.name, date],
        )
        return made

    def point(self, database: sqlite3.Connection, name: str, oid: str) -> None:
        """Let a reference point to a commit."""
        database.execute("INSERT OR REPLACE INTO refs VALUES (?, ?, ?)", [self.repository.id, name, oid])
        database.execute("UPDATE repositories SET modified = ? WHERE id = ?", [now(), self.repository.id])

    def add_reference(self, database: sqlite3.Connection, kind: str, name: str, revision: str) -> Reference:
        """Make a branch (kind heads) or a tag (kind tags).

        Raises:
            Refusal: it exists (409), or one above or below it, or the name or the revision is none.

        """
        full = f"refs/{kind}/{checked_ref(name)}"
        commit = self.commit(revision)
        if name.startswith("refs/"):
            raise Refusal(400, f"Invalid reference name: {name!r}")
        existing = self.reference(full)
        if existing:
            what = "Tag" if kind == "tags" else "Reference"
            raise Refusal(409, f"{what} {name if kind == 'tags' else full} already exists", oid=existing.oid)
        if other := self._in_the_way(full):
            raise Refusal(409, f"{full} cannot stand beside {other}: to Git one is a file and the other a folder")
        self.point(database, full, commit.oid)
        return Reference(full, commit.oid)

    def _in_the_way(self, name: str) -> str | None:
        """A reference above or below that name."""
        parts = name.split("/")
        above = ["/".join(parts[:count]) for count in range(3, len(parts))]
        references = [reference.name for reference in self.references()]
        return next((other for other in references if other in above or other.startswith(f"{name}/")), None)

    def remove_reference(self, database: sqlite3.Connection, kind: str, name: str) -> Reference:
        """Delete a branch or a tag; its commits stay.

        Raises:
            Refusal: there is none of that name, or it is main.

        """
        full = f"refs/{kind}/{name}"
        if full == MAIN:
            raise Refusal(403, f"Cannot delete {MAIN}")
        existing = self.reference(full)
        if existing is None:
            raise unknown_revision(full)
        database.execute("DELETE FROM refs WHERE repository = ? AND name = ?", [self.repository.id, full])
        return existing

    def forget(self, database: sqlite3.Connection, author: Viewer, named: set[str]) -> None:
        """Take large files (by SHA-256) out of every reference, whose histories become one commit each: no old one names them."""
        rows = self._store.read("SELECT oid, sha256 FROM blobs WHERE repository = ? AND lfs = 1", [self.repository.id])
        gone = {row["oid"] for row in rows if row["sha256"] in named}
        trees = self.trees(database)
        for reference in self.references():
            commit = self.by_oid(reference.oid)
            changes: dict[str, str | None] = {path: None for path, oid in trees.files(commit.tree).items() if oid in gone}
            older = any(gone & set(trees.files(past.tree).values()) for past in self.log(commit))
            if older:
                tree = trees.edit(commit.tree, changes)
                made = self.add_commit(database, author, tree, None, commit.title, commit.message)
                self.point(database, reference.name, made.oid)
        kept = {commit.oid for reference in self.references() for commit in self.log(self.by_oid(reference.oid))}
        rows = self._store.read("SELECT oid FROM commits WHERE repository = ?", [self.repository.id])
        database.executemany(
            "DELETE FROM commits WHERE repository = ? AND oid = ?",
            [(self.repository.id, row["oid"]) for row in rows if row["oid"] not in kept],
        )

    def last_changes(self, commit: Commit, paths: Iterable[str]) -> dict[str, Commit]:
        """For each path, the last commit up to `commit` that changed it."""
        trees = self.trees()
        current: dict[str, Entry | None] = {path: trees.find(commit.tree, path) for path in paths}
        found: dict[str, Commit] = {}
        for newer in self.log(commit):
            older_tree = self.by_oid(newer.parent).tree if newer.parent else EMPTY_TREE
            if older_tree == newer.tree:
                continue
            before = _entries(trees, older_tree, [path for path in current if path not in found])
            found |= {path: newer for path, entry in before.items() if entry != current[path]}
            if len(found) == len(current):
                break
        return found


def _entries(trees: Trees, root: str, paths: Iterable[str]) -> Mapping[str, Entry | None]:
    """The entries of many paths, each folder read once."""
    folders: dict[str, Mapping[str, Entry]] = {}
    result: dict[str, Entry | None] = {}
    for path in paths:
        parent, _, name = path.rpartition("/")
        if parent not in folders:
            entry = trees.find(root, parent)
            folders[parent] = trees.folder(entry.oid) if entry and entry.is_folder else {}
        result[path] = folders[parent].get(name)
    return result


def _commit(row: sqlite3.Row) -> Commit:
    return Commit(row["oid"], row["tree"], row["parent"], row["title"], row["message"], row["author"], row["date"])
