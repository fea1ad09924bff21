"""Who may do what: users, organisations, and tokens, of which only the hash is kept.

A token is 160 random bits, so one round of SHA-256 protects it: there is nothing to guess from a dictionary.
"""

import hashlib
import secrets
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from infra.local_hub.refusal import Refusal
from infra.local_hub.store import Store, now

_WRITING_ROLES = ("admin", "write", "contributor")


@dataclass(frozen=True)
class Viewer:
    """Who asks: an account by its token, or nobody."""

    id: str
    name: str
    role: str  # of the token: read or write
    token_label: str
    token_created: str


class Accounts:
    """Users, organisations and tokens of a Hub."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(
        self,
        name: str,
        fullname: str = "",
        email: str = "",
        kind: str = "user",
        private_by_default: bool = False,
        quota_bytes: int | None = None,
    ) -> str:
        """Make a user or an organisation, unless it exists; its id. `quota_bytes` limits the large files of all its repositories."""
        with self._store.transaction() as database:
            database.execute(
                "INSERT OR IGNORE INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [secrets.token_hex(12), name, kind, fullname or name, email, private_by_default, quota_bytes, now()],
            )
            return str(self.named(name)["id"])

    def join(self, org: str, user: str, role: str = "admin") -> None:
        """Make a user a member of an organisation: admin, write, contributor or read."""
        with self._store.transaction() as database:
            database.execute(
                "INSERT OR REPLACE INTO members VALUES (?, ?, ?)", [self.named(org)["id"], self.named(user)["id"], role]
            )

    def add_token(
        self, name: str, role: str = "write", token: str | None = None, label: str = "voxfactory", hours: float | None = None
    ) -> str:
        """Let whoever shows the token act for an account; the token, which is not kept."""
        token = token or f"hf_{secrets.token_hex(20)}"
        expires = None if hours is None else datetime.now(UTC) + timedelta(hours=hours)
        with self._store.transaction() as database:
            database.execute(
                "INSERT OR REPLACE INTO tokens VALUES (?, ?, ?, ?, ?, ?)",
                [_digest(token), self.named(name)["id"], label, role, now(), expires.isoformat() if expires else None],
            )
        return token

    def remove_token(self, token: str) -> None:
        """Refuse the token from now on."""
        with self._store.transaction() as database:
            database.execute("DELETE FROM tokens WHERE digest = ?", [_digest(token)])

    def viewer(self, token: str) -> Viewer:
        """Whose token it is.

        Raises:
            Refusal: nobody's, or it expired.

        """
        row = self._store.first(
            "SELECT accounts.id, accounts.name, role, label, tokens.created, expires FROM tokens JOIN accounts "
            "ON accounts.id = tokens.account WHERE digest = ?",
            [_digest(token)],
        )
        if row is None or (row["expires"] and datetime.fromisoformat(row["expires"]) < datetime.now(UTC)):
            raise Refusal(401, "Invalid credentials in Authorization header")
        return Viewer(row["id"], row["name"], row["role"], row["label"], row["created"])

    def named(self, name: str) -> sqlite3.Row:
        """The account of that name.

        Raises:
            Refusal: there is none.

        """
        row = self._store.first("SELECT * FROM accounts WHERE name = ?", [name])
        if row is None:
            raise Refusal(404, f"This user or organisation does not exist: {name}")
        return row

    def any_user(self) -> str | None:
        """The name of the first user, if there is one."""
        row = self._store.first("SELECT name FROM accounts WHERE kind = 'user' ORDER BY created LIMIT 1")
        return row["name"] if row else None

    def organisations(self, viewer: Viewer) -> list[sqlite3.Row]:
        """The organisations of a user, with the user's `role` in each."""
        return self._store.read(
            "SELECT accounts.*, members.role FROM members JOIN accounts ON accounts.id = members.org WHERE account = ?",
            [viewer.id],
        )

    def belongs(self, viewer: Viewer | None, owner: str) -> bool:
        """Whether the viewer sees what is private to the account with id `owner`."""
        return viewer is not None and (viewer.id == owner or self._role(viewer, owner) is not None)

    def may_write(self, viewer: Viewer | None, owner: str) -> bool:
        """Whether the viewer, by this token, changes repositories of the account with id `owner`."""
        if viewer is None or viewer.role != "write":
            return False
        return viewer.id == owner or self._role(viewer, owner) in _WRITING_ROLES

    def check_quota(self, payer: str, more: int) -> None:
        """Refuse `more` bytes of large files that the account with id `payer` has no room for.

        Raises:
            Refusal: 403.

        """
        name, quota = self._store.read("SELECT name, quota_bytes FROM accounts WHERE id = ?", [payer])[0]
        if quota is None:
            return
        used = self._store.read(
            "SELECT COALESCE(SUM(size), 0) AS used FROM holdings JOIN repositories ON repositories.id = holdings.repository "
            "LEFT JOIN guests USING (repository, sha256) WHERE COALESCE(guests.account, owner) = ?",
            [payer],
        )[0]["used"]
        if used + more > quota:
            raise Refusal(
                403,
                f"Storage quota exceeded: {name} has {used} of {quota} bytes in use, {more} more were announced. "
                "Delete large files or ask for more.",
            )

    def _role(self, viewer: Viewer, org: str) -> str | None:
        row = self._store.first("SELECT role FROM members WHERE org = ? AND account = ?", [org, viewer.id])
        return row["role"] if row else None


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
