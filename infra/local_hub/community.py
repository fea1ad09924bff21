"""What people do around repositories: likes, requests for access to gated ones, collections."""

import re
import secrets
import sqlite3
from typing import Any

from infra.local_hub.accounts import Viewer
from infra.local_hub.fields import Fields
from infra.local_hub.refusal import Refusal, bad_request
from infra.local_hub.repositories import Repository
from infra.local_hub.store import Store, now

_REQUEST_STATUSES = ("pending", "accepted", "rejected")
_ITEM_KINDS = ("model", "dataset", "space", "paper", "collection", "bucket")
_SLUG_ID_LENGTH = 24


class Community:
    """Likes, access requests and collections of a Hub. What changes something belongs into `store.transaction()`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def like(self, database: sqlite3.Connection, repository: Repository, viewer: Viewer, liked: bool) -> None:
        """Like a repository, or no longer."""
        if liked:
            database.execute("INSERT OR IGNORE INTO likes VALUES (?, ?, ?)", [repository.id, viewer.id, now()])
        else:
            database.execute("DELETE FROM likes WHERE repository = ? AND account = ?", [repository.id, viewer.id])

    def likes(self, repository: Repository) -> list[sqlite3.Row]:
        """The accounts that like a repository."""
        return self._store.read(
            "SELECT accounts.* FROM likes JOIN accounts ON accounts.id = account WHERE repository = ?", [repository.id]
        )

    def liked(self, account: str) -> list[tuple[str, str]]:
        """Repository id and time of what an account (by id) likes."""
        rows = self._store.read("SELECT repository, created FROM likes WHERE account = ? ORDER BY created", [account])
        return [(row["repository"], row["created"]) for row in rows]

    def ask_access(self, database: sqlite3.Connection, repository: Repository, account: str, status: str) -> None:
        """Write a request of an account (by id) for a gated repository; a status that it has already is refused."""
        existing = self._store.first(
            "SELECT status FROM access_requests WHERE repository = ? AND account = ?", [repository.id, account]
        )
        if existing and existing["status"] == status:
            raise bad_request(f"The access request is already {status}")
        database.execute(
            "INSERT INTO access_requests VALUES (?, ?, ?, ?, '{}', ?) "
            "ON CONFLICT (repository, account) DO UPDATE SET status = excluded.status",
            [secrets.token_hex(12), repository.id, account, status, now()],
        )

    def requester(self, repository: Repository, request: str) -> str:
        """The account id of an access request."""
        row = self._store.first("SELECT account FROM access_requests WHERE repository = ? AND id = ?", [repository.id, request])
        if row is None:
            raise Refusal(404, "Access request not found")
        return str(row["account"])

    def has_asked(self, repository: Repository, account: str) -> bool:
        """Whether there is a request of that account."""
        return bool(
            self._store.first("SELECT 1 FROM access_requests WHERE repository = ? AND account = ?", [repository.id, account])
        )

    def access_requests(self, repository: Repository, status: str) -> list[dict[str, Any]]:
        """The requests of one status."""
        if status not in _REQUEST_STATUSES:
            raise bad_request(f"Invalid status: {status}")
        rows = self._store.read(
            "SELECT access_requests.*, accounts.name, accounts.fullname FROM access_requests JOIN accounts ON accounts.id = account "
            "WHERE repository = ? AND status = ?",
            [repository.id, status],
        )
        return [
            {
                "requestId": row["id"],
                "user": {"user": row["name"], "fullname": row["fullname"]},
                "status": row["status"],
                "timestamp": row["created"],
            }
            for row in rows
        ]

    def create_collection(self, database: sqlite3.Connection, owner: sqlite3.Row, fields: Fields) -> str:
        """Make a collection; its slug."""
        title = fields.text("title").strip()
        if not title:
            raise bad_request("A collection needs a title")
        slug = _slug(owner["name"], title, secrets.token_hex(_SLUG_ID_LENGTH // 2))
        database.execute(
            "INSERT INTO collections VALUES (?, ?, ?, ?, ?, 'orange', 0, ?)",
            [slug, owner["id"], title, fields.optional_text("description"), fields.flag("private") or False, now()],
        )
        return slug

    def collection(self, slug: str) -> sqlite3.Row:
        """A collection by its slug, of which only the id at the end counts.

        Raises:
            Refusal: there is none.

        """
        row = self.find_collection(slug)
        if row is None:
            raise Refusal(404, "Collection not found")
        return row

    def find_collection(self, slug: str) -> sqlite3.Row | None:
        """The same, or None."""
        return self._store.first("SELECT * FROM collections WHERE substr(slug, -24) = ?", [slug[-_SLUG_ID_LENGTH:]])

    def change_collection(self, database: sqlite3.Connection, row: sqlite3.Row, owner: str, fields: Fields) -> str:
        """Set title, description, private, theme or position; the slug, which follows the title."""
        title, private, position = fields.text("title", row["title"]), fields.flag("private"), fields.number("position")
        values = {
            "title": title,
            "description": fields.optional_text("description") if "description" in fields else row["description"],
            "private": row["private"] if private is None else private,
            "theme": fields.text("theme", row["theme"]),
            "position": row["position"] if position is None else position,
        }
        slug = _slug(owner, title, row["slug"][-_SLUG_ID_LENGTH:])
        database.execute(
            "UPDATE collections SET slug = ?, title = ?, description = ?, private = ?, theme = ?, position = ?, updated = ? "
            "WHERE slug = ?",
            [slug, *values.values(), now(), row["slug"]],
        )
        return slug

    def remove_collection(self, database: sqlite3.Connection, row: sqlite3.Row) -> None:
        """Delete a collection, not what it lists."""
        database.execute("DELETE FROM collections WHERE slug = ?", [row["slug"]])

    def items(self, slug: str) -> list[sqlite3.Row]:
        """What a collection lists, in order."""
        return self._store.read("SELECT * FROM collection_items WHERE collection = ? ORDER BY position", [slug])

    def add_item(self, database: sqlite3.Connection, slug: str, kind: str, item: str, note: str | None) -> None:
        """List something, at the end."""
        if kind not in _ITEM_KINDS:
            raise bad_request(f"A collection cannot list a {kind}")
        listed = self.items(slug)
        if any((row["kind"], row["item"]) == (kind, item) for row in listed):
            raise Refusal(409, f"{item} is already in the collection")
        database.execute(
            "INSERT INTO collection_items VALUES (?, ?, ?, ?, ?, ?)", [secrets.token_hex(12), slug, kind, item, note, len(listed)]
        )

    def change_item(self, database: sqlite3.Connection, slug: str, identity: str, fields: Fields) -> None:
        """Set an item's note, or move it to a position."""
        order = [row["id"] for row in self.items(slug)]
        self._check_item(order, identity)
        if "note" in fields:
            database.execute("UPDATE collection_items SET note = ? WHERE id = ?", [fields.optional_text("note"), identity])
        if (position := fields.number("position")) is not None:
            order.remove(identity)
            order.insert(position, identity)
            database.executemany("UPDATE collection_items SET position = ? WHERE id = ?", list(enumerate(order)))

    def remove_item(self, database: sqlite3.Connection, slug: str, identity: str) -> None:
        """List something no longer."""
        self._check_item([row["id"] for row in self.items(slug)], identity)
        database.execute("DELETE FROM collection_items WHERE id = ?", [identity])

    def _check_item(self, items: list[str], identity: str) -> None:
        if identity not in items:
            raise Refusal(404, "Collection item not found")


def _slug(owner: str, title: str, identity: str) -> str:
    return f"{owner}/{re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')}-{identity}"
