"""Discussions and pull requests of one repository. A pull request is a reference, refs/pr/N, that can be committed to and merged."""

import difflib
import json
import secrets
import sqlite3
from collections.abc import Mapping
from typing import Any

from infra.local_hub.accounts import Viewer
from infra.local_hub.blobs import Blobs
from infra.local_hub.history import MAIN, Commit, History, Reference
from infra.local_hub.identity import EMPTY_TREE
from infra.local_hub.refusal import Refusal, bad_request
from infra.local_hub.store import Store, now

_STATUSES = ("open", "closed", "draft", "merged")
_MOST_DIFF_LINES = 5_000


class Discussions:
    """The discussions of one repository. What changes something belongs into `store.transaction()`."""

    def __init__(self, store: Store, history: History) -> None:
        self._store, self._history, self._repository = store, history, history.repository

    def open(self, database: sqlite3.Connection, author: Viewer, title: str, text: str, pull: bool, base: str = "main") -> int:
        """Begin a discussion, or a pull request whose reference starts at the head of `base`; its number."""
        if not title.strip():
            raise bad_request("A discussion needs a title")
        row = self._store.read(
            "SELECT COALESCE(MAX(num), 0) + 1 AS num FROM discussions WHERE repository = ?", [self._repository.id]
        )[0]
        num = int(row["num"])
        branch = self._history.branch(base)
        database.execute(
            "INSERT INTO discussions VALUES (?, ?, ?, ?, ?, ?, ?, NULL, ?)",
            [self._repository.id, num, title, "draft" if pull else "open", author.name, pull, branch.name, now()],
        )
        self._add_event(database, num, "comment", author.name, _comment(text, author.name))
        if pull:
            self._history.point(database, f"refs/pr/{num}", branch.oid)
        return num

    def note_commit(self, database: sqlite3.Connection, reference: str, author: Viewer, commit: Commit) -> None:
        """Let a pull request tell of a commit that was made to it."""
        num = int(reference.removeprefix("refs/pr/"))
        self._add_event(database, num, "commit", author.name, {"subject": commit.title, "oid": commit.oid})

    def listed(self, author: str | None, kind: str | None, status: str | None) -> list[dict[str, Any]]:
        """Short descriptions, the newest first."""
        rows = self._store.read("SELECT * FROM discussions WHERE repository = ? ORDER BY num DESC", [self._repository.id])
        wanted_pull = {"pull_request": 1, "discussion": 0}.get(kind or "all")
        statuses = {"open": ("open", "draft"), "closed": ("closed", "merged")}.get(status or "all", _STATUSES)
        return [
            self._short(row)
            for row in rows
            if (author is None or row["author"].lower() == author.lower())
            and (wanted_pull is None or row["pull"] == wanted_pull)
            and row["status"] in statuses
        ]

    def details(self, num: int) -> dict[str, Any]:
        """Everything of one discussion."""
        row = self._row(num)
        events = self._store.read(
            "SELECT * FROM discussion_events WHERE repository = ? AND num = ? ORDER BY rowid", [self._repository.id, num]
        )
        described = self._short(row) | {"events": [_shown(event) for event in events]}
        if row["pull"]:
            conflicts, diff = [], ""
            if row["status"] in ("open", "draft"):
                base, head = self._sides(row)
                conflicts = self._merged(base, head)[1] if base else []
                diff = self._diff(self._fork(base or self._history.commit(MAIN), head), head)
            changes = {"base": row["base"]} | ({"mergeCommitId": row["merge_commit"]} if row["merge_commit"] else {})
            described |= {"changes": changes, "filesWithConflicts": conflicts, "diff": diff}
        return described

    def comment(self, database: sqlite3.Connection, num: int, author: Viewer, text: str) -> dict[str, Any]:
        """Add a comment."""
        self._row(num)
        return self._add_event(database, num, "comment", author.name, _comment(text, author.name))

    def edit_comment(
        self, database: sqlite3.Connection, num: int, identity: str, viewer: Viewer, text: str | None
    ) -> dict[str, Any]:
        """Change the viewer's own comment, or hide it (None)."""
        row = self._store.first(
            "SELECT * FROM discussion_events WHERE id = ? AND repository = ? AND num = ? AND kind = 'comment'",
            [identity, self._repository.id, num],
        )
        if row is None:
            raise Refusal(404, "Comment not found")
        if row["author"] != viewer.name:
            raise Refusal(403, "Only its author may change a comment")
        data = json.loads(row["data"])
        if text is None:
            data |= {
                "hidden": True,
                "latest": data["latest"] | {"raw": "This comment has been hidden", "html": ""},
                "history": [],
            }
        else:
            latest = _comment(text, viewer.name)["latest"]
            data |= {"edited": True, "numEdits": data["numEdits"] + 1, "history": [latest, *data["history"]], "latest": latest}
        database.execute("UPDATE discussion_events SET data = ? WHERE id = ?", [json.dumps(data), identity])
        return _shown(row, data)

    def rename(self, database: sqlite3.Connection, num: int, author: Viewer, title: str) -> dict[str, Any]:
        """Change the title."""
        before = self._row(num)["title"]
        database.execute("UPDATE discussions SET title = ? WHERE repository = ? AND num = ?", [title, self._repository.id, num])
        return self._add_event(database, num, "title-change", author.name, {"from": before, "to": title})

    def set_status(self, database: sqlite3.Connection, num: int, author: Viewer, status: str, text: str) -> dict[str, Any]:
        """Open or close."""
        if self._row(num)["status"] == "merged" or status not in ("open", "closed"):
            raise bad_request(f"A discussion cannot be made {status!r} from here")
        database.execute("UPDATE discussions SET status = ? WHERE repository = ? AND num = ?", [status, self._repository.id, num])
        if text:
            self.comment(database, num, author, text)
        return self._add_event(database, num, "status-change", author.name, {"status": status})

    def merge(self, database: sqlite3.Connection, num: int, author: Viewer, text: str) -> tuple[Reference, Commit]:
        """Put a pull request's changes on top of its base, as one commit; the base as it was, and the commit.

        Raises:
            Refusal: it is no open pull request, or it conflicts (409).

        """
        row = self._row(num)
        if not row["pull"] or row["status"] not in ("open", "draft"):
            raise bad_request("Only an open pull request can be merged")
        base, head = self._sides(row)
        if base is None:
            raise Refusal(409, f"{row['base']}, into which it would be merged, was deleted")
        changes, conflicts = self._merged(base, head)
        if conflicts:
            raise Refusal(409, f"The pull request conflicts with {row['base']} in {', '.join(conflicts[:10])}")
        tree = self._history.trees(database).edit(base.tree, changes)
        title = f"{row['title']} (#{num})"
        commit = base if tree == base.tree else self._history.add_commit(database, author, tree, base.oid, title, "")
        self._history.point(database, row["base"], commit.oid)
        database.execute(
            "UPDATE discussions SET status = 'merged', merge_commit = ? WHERE repository = ? AND num = ?",
            [commit.oid, self._repository.id, num],
        )
        if text:
            self.comment(database, num, author, text)
        self._add_event(database, num, "status-change", author.name, {"status": "merged"})
        return Reference(row["base"], base.oid), commit

    def author(self, num: int) -> str:
        """Who began it."""
        return str(self._row(num)["author"])

    def _row(self, num: int) -> sqlite3.Row:
        row = self._store.first("SELECT * FROM discussions WHERE repository = ? AND num = ?", [self._repository.id, num])
        if row is None:
            raise Refusal(404, f"Discussion not found: {num}")
        return row

    def _sides(self, row: sqlite3.Row) -> tuple[Commit | None, Commit]:
        """The heads of the base, which may have been deleted, and of the pull request."""
        base = self._history.reference(row["base"])
        return self._history.by_oid(base.oid) if base else None, self._history.commit(f"refs/pr/{row['num']}")

    def _fork(self, base: Commit, head: Commit) -> Commit | None:
        ours = {commit.oid for commit in self._history.log(base)}
        return next((commit for commit in self._history.log(head) if commit.oid in ours), None)

    def _merged(self, base: Commit, head: Commit) -> tuple[dict[str, str | None], list[str]]:
        """What the pull request changed since it left its base, and where the base has changed otherwise since."""
        trees = self._history.trees()
        fork = self._fork(base, head)
        before = trees.files(fork.tree) if fork else {}
        ours, theirs = trees.files(base.tree), trees.files(head.tree)
        changes = _changes(before, theirs)
        conflicts = [path for path, oid in changes.items() if ours.get(path) not in (before.get(path), oid)]
        return changes, sorted(conflicts)

    def _diff(self, fork: Commit | None, head: Commit) -> str:
        """Unified diff of the small text files that changed."""
        trees, blobs = self._history.trees(), Blobs(self._store, self._repository.id)
        old_tree = fork.tree if fork else EMPTY_TREE
        lines: list[str] = []
        for path in sorted(_changes(trees.files(old_tree), trees.files(head.tree))):
            old, new = ((blobs.text(trees, tree, path) or "").splitlines() for tree in (old_tree, head.tree))
            if len(old) + len(new) < _MOST_DIFF_LINES:
                lines += difflib.unified_diff(old, new, f"a/{path}", f"b/{path}", lineterm="")
        return "\n".join(lines)

    def _short(self, row: sqlite3.Row) -> dict[str, Any]:
        return {
            "num": row["num"],
            "title": row["title"],
            "status": row["status"],
            "author": {"name": row["author"]},
            "createdAt": row["created"],
            "isPullRequest": bool(row["pull"]),
            "repo": {"name": self._repository.path, "type": self._repository.kind},
        }

    def _add_event(self, database: sqlite3.Connection, num: int, kind: str, author: str, data: dict[str, Any]) -> dict[str, Any]:
        identity = secrets.token_hex(12)
        database.execute(
            "INSERT INTO discussion_events VALUES (?, ?, ?, ?, ?, ?, ?)",
            [identity, self._repository.id, num, kind, author, now(), json.dumps(data)],
        )
        return _shown(self._store.read("SELECT * FROM discussion_events WHERE id = ?", [identity])[0])


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str | None]:
    return {path: after.get(path) for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def _comment(text: str, author: str) -> dict[str, Any]:
    latest = {"raw": text, "html": "", "updatedAt": now(), "author": {"name": author}}
    return {"edited": False, "hidden": False, "latest": latest, "history": [latest], "numEdits": 0}


def _shown(row: sqlite3.Row, data: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "id": row["id"],
        "type": row["kind"],
        "createdAt": row["created"],
        "author": {"name": row["author"]},
        "data": json.loads(row["data"]) if data is None else data,
    }
