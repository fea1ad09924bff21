"""Repositories: which there are, who sees them, who changes them.

A private repository of others looks absent; so does one that was never made.
"""

import secrets
import sqlite3
from dataclasses import dataclass
from typing import Any

from infra.local_hub.accounts import Accounts, Viewer
from infra.local_hub.paths import checked_repository_name
from infra.local_hub.refusal import Refusal, bad_request
from infra.local_hub.store import Store, now

KINDS = ("model", "dataset", "space")
_COLUMNS = "repositories.*, accounts.name AS owner_name FROM repositories JOIN accounts ON accounts.id = repositories.owner"
_GATES = ("", "auto", "manual")


@dataclass(frozen=True)
class Repository:
    """One repository as it is now."""

    id: str
    kind: str
    owner: str
    owner_name: str
    name: str
    visibility: str
    gated: str
    sdk: str | None
    created: str
    modified: str

    @property
    def path(self) -> str:
        """owner/name."""
        return f"{self.owner_name}/{self.name}"

    @property
    def private(self) -> bool:
        """Whether strangers see nothing of it."""
        return self.visibility != "public"

    @property
    def address(self) -> str:
        """Where its pages and files lie, without the Hub's own address: owner/name, datasets/owner/name."""
        return self.path if self.kind == "model" else f"{self.kind}s/{self.path}"


class Repositories:
    """The repositories of a Hub."""

    def __init__(self, store: Store, accounts: Accounts) -> None:
        self._store, self._accounts = store, accounts

    def create(self, viewer: Viewer | None, kind: str, owner: str | None, name: str, visibility: str | None) -> Repository:
        """Make an empty repository.

        Raises:
            Refusal: the name is taken (409, with the repository's `id`) or not allowed, or the owner is not the viewer's to write to.

        """
        if viewer is None:
            raise Refusal(401, "Invalid username or password.")
        checked_repository_name(name)
        account = self._accounts.named(owner or viewer.name)
        if not self._accounts.may_write(viewer, account["id"]):
            raise Refusal(403, f"You don't have the rights to create a {kind} under the namespace {account['name']!r}.")
        if visibility not in (None, "public", "private", "protected") or (visibility == "protected" and kind != "space"):
            raise bad_request(f"Invalid visibility: {visibility}")
        with self._store.transaction() as database:
            existing = self._at(kind, f"{account['name']}/{name}")
            if existing:
                raise Refusal(409, f"You already created this {kind} repo", url=existing.address, id=existing.path)
            database.execute("DELETE FROM redirects WHERE kind = ? AND path = ?", [kind, f"{account['name']}/{name}"])
            made, time = secrets.token_hex(12), now()
            chosen = visibility or ("private" if account["private_by_default"] else "public")
            database.execute(
                "INSERT INTO repositories VALUES (?, ?, ?, ?, ?, '', NULL, ?, ?)",
                [made, kind, account["id"], name, chosen, time, time],
            )
            return self.by_id(made)

    def delete(self, repository: Repository) -> None:
        """Remove a repository; the large files that only it held go with the next sweep."""
        with self._store.transaction() as database:
            database.execute("DELETE FROM repositories WHERE id = ?", [repository.id])

    def move(self, viewer: Viewer | None, repository: Repository, target: str) -> Repository:
        """Give a repository another name; the old one keeps leading to it.

        Raises:
            Refusal: the target is taken or is not the viewer's to write to.

        """
        owner, _, name = target.partition("/")
        checked_repository_name(name)
        account = self._accounts.named(owner)
        if not self._accounts.may_write(viewer, account["id"]):
            raise Refusal(403, f"You don't have the rights to move a repository to the namespace {owner!r}.")
        with self._store.transaction() as database:
            taken = self._at(repository.kind, target)
            if taken and taken.id != repository.id:
                raise Refusal(409, f"A {repository.kind} repository called {target} already exists")
            database.execute("DELETE FROM redirects WHERE kind = ? AND path = ?", [repository.kind, target])
            database.execute(
                "INSERT OR REPLACE INTO redirects VALUES (?, ?, ?)", [repository.kind, repository.path, repository.id]
            )
            database.execute(
                "UPDATE repositories SET owner = ?, name = ?, modified = ? WHERE id = ?",
                [account["id"], name, now(), repository.id],
            )
            return self.by_id(repository.id)

    def change(self, repository: Repository, visibility: str | None = None, gated: str | None = None) -> Repository:
        """Set who sees it.

        Raises:
            Refusal: a value that there is not.

        """
        if visibility not in (None, "public", "private", "protected") or gated not in (None, *_GATES):
            raise bad_request("Invalid repository settings")
        with self._store.transaction() as database:
            database.execute(
                "UPDATE repositories SET visibility = ?, gated = ?, modified = ? WHERE id = ?",
                [visibility or repository.visibility, repository.gated if gated is None else gated, now(), repository.id],
            )
            return self.by_id(repository.id)

    def by_id(self, identity: str) -> Repository:
        """The repository with that id, which exists."""
        return _record(self._store.read(f"SELECT {_COLUMNS} WHERE repositories.id = ?", [identity])[0])

    def named(self, kind: str, path: str) -> Repository | None:
        """The repository of that kind and owner/name, now or before it moved."""
        if found := self._at(kind, path):
            return found
        moved = self._store.first("SELECT repository FROM redirects WHERE kind = ? AND path = ?", [kind, path])
        return self.by_id(moved["repository"]) if moved else None

    def readable(self, viewer: Viewer | None, kind: str, path: str) -> Repository:
        """The repository, if the viewer may know of it.

        Raises:
            Refusal: RepoNotFound; 401 for nobody in particular, who might only have to log in.

        """
        found = self.named(kind, path)
        if found is None or not self.shows(viewer, found):
            raise absent(viewer)
        return found

    def shows(self, viewer: Viewer | None, repository: Repository) -> bool:
        """Whether the viewer may know of the repository."""
        return not repository.private or self._accounts.belongs(viewer, repository.owner)

    def writable(self, viewer: Viewer | None, kind: str, path: str) -> Repository:
        """The repository, if the viewer may change it.

        Raises:
            Refusal: RepoNotFound, or 403 where it may only be read.

        """
        found = self.readable(viewer, kind, path)
        if viewer is None:
            raise absent(viewer)
        if not self._accounts.may_write(viewer, found.owner):
            raise Refusal(403, "Forbidden: you need a token with write access to this repository.")
        return found

    def check_content(self, viewer: Viewer | None, repository: Repository) -> None:
        """Refuse to show files of a gated repository to whom it was not granted.

        Raises:
            Refusal: GatedRepo.

        """
        if not repository.gated or self._accounts.belongs(viewer, repository.owner):
            return
        granted = viewer and self._store.first(
            "SELECT 1 FROM access_requests WHERE repository = ? AND account = ? AND status = 'accepted'",
            [repository.id, viewer.id],
        )
        if not granted:
            restricted = f"Access to {repository.kind} {repository.path} is restricted"
            if viewer is None:
                message = f"{restricted}. You must have access to it and be authenticated to access it. Please log in."
                raise Refusal(401, message, "GatedRepo")
            message = (
                f"{restricted} and you are not in the authorized list. Visit its page, /{repository.address}, to ask for access."
            )
            raise Refusal(403, message, "GatedRepo")

    def visible(self, viewer: Viewer | None, kind: str) -> list[Repository]:
        """All repositories of a kind that the viewer may know of, the newest first."""
        rows = self._store.read(f"SELECT {_COLUMNS} WHERE repositories.kind = ? ORDER BY repositories.created DESC", [kind])
        records = map(_record, rows)
        return [record for record in records if self.shows(viewer, record)]

    def _at(self, kind: str, path: str) -> Repository | None:
        owner, _, name = path.partition("/")
        query = f"SELECT {_COLUMNS} WHERE repositories.kind = ? AND accounts.name = ? AND repositories.name = ?"
        row = self._store.first(query, [kind, owner, name])
        return _record(row) if row else None


def absent(viewer: Viewer | None) -> Refusal:
    """There is no such repository, or none that the viewer may know of."""
    return Refusal(404 if viewer else 401, "Repository not found", "RepoNotFound")


def _record(row: sqlite3.Row) -> Repository:
    values: dict[str, Any] = dict(row)
    return Repository(**values)
