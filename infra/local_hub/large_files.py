"""Git LFS: large files come to an address that is signed, in one piece or in parts, and are known once their hash is right.

Formats: the Git LFS batch API v1, with the `multipart` transfer of huggingface_hub.
"""

import hashlib
import hmac
import os
import re
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from infra.local_hub.accounts import Accounts
from infra.local_hub.fields import Fields, whole
from infra.local_hub.refusal import Refusal, bad_request
from infra.local_hub.repositories import Repository
from infra.local_hub.store import Store, now, synchronise
from infra.local_hub.uploads import without_writers
from infra.storage import file_hash

PART_BYTES = 512 * 1024 * 1024  # a file of more than two parts is sent in parts, each of which can be sent again alone
_ADDRESS_LIFE_S = 6 * 3600
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_BYTES = 1 << 44
_MOST_ADDRESSES = 20_000  # in one answer, of 300 bytes each


@dataclass(frozen=True)
class Address:
    """Where bytes may be sent to: one file of one repository, whole (part 0) or one part of it, until a time.

    `guest` is the id of the account that it counts as, where that is not the repository's owner.
    """

    repository: str
    sha256: str
    size: int
    part: int
    expires: int
    guest: str = ""

    @property
    def path(self) -> str:
        """Without the signature."""
        return f"/api/lfs/{self.repository}/{self.sha256}/{self.size}/{self.part}"

    @property
    def offset(self) -> int:
        """Where in the file these bytes begin."""
        return max(0, self.part - 1) * PART_BYTES

    @property
    def part_bytes(self) -> int:
        """How many bytes belong here."""
        return self.size if self.part == 0 else min(PART_BYTES, self.size - (self.part - 1) * PART_BYTES)

    def signature(self, key: bytes) -> str:
        """Hex HMAC-SHA256 of the address."""
        return hmac.new(key, f"PUT {self.path}?{self.expires}&{self.guest}".encode(), hashlib.sha256).hexdigest()


class LargeFiles:
    """The large files of all repositories of a Hub."""

    def __init__(self, store: Store, accounts: Accounts) -> None:
        self._store, self._accounts = store, accounts

    def batch(self, repository: Repository, request: Fields, base_url: str, guest: str = "") -> dict[str, Any]:
        """Answer which of the objects are needed, and where to send them.

        They count as the repository's owner's, or as those of the account with the id `guest`, who may not write to it. Parts of one file
        share a place, so what a guest sends comes in one piece: it cannot spoil what a writer sends.

        Raises:
            Refusal: it is no upload, an object is none, they are too many (413), or the quota is spent.

        """
        if request.text("operation") != "upload":
            raise bad_request("Only uploads use the LFS batch API here; files are downloaded from /resolve/")
        asked = [_checked(described) for described in request.objects("objects")]
        if sum(1 + size // PART_BYTES for _, size in asked) > _MOST_ADDRESSES:
            raise Refusal(413, f"These files have more than {_MOST_ADDRESSES} parts: ask for fewer at once")
        needed = {oid: size for oid, size in asked if self.held(repository.id, oid) is None}
        self._accounts.check_quota(guest or repository.owner, sum(needed.values()))
        multipart = "multipart" in request.texts("transfers") and not guest
        answers: list[dict[str, Any]] = []
        for oid, size in asked:
            answer: dict[str, Any] = {"oid": oid, "size": size}
            if oid in needed:
                whole_file = Address(repository.id, oid, size, 0, int(time.time()) + _ADDRESS_LIFE_S, guest)
                answer["actions"] = self._actions(repository, whole_file, base_url, multipart and size > 2 * PART_BYTES)
            answers.append(answer)
        return {"transfer": "basic", "objects": answers}

    def held(self, repository: str, sha256: str) -> int | None:
        """The size of a large file that the repository of that id holds."""
        row = self._store.first("SELECT size FROM holdings WHERE repository = ? AND sha256 = ?", [repository, sha256])
        return row["size"] if row else None

    def checked_address(self, repository: str, sha256: str, size: str, part: str, query: Mapping[str, str]) -> Address:
        """The address of an upload, if this Hub signed it and it still stands.

        Raises:
            Refusal: 403.

        """
        expires, guest, signature = (query.get(name, "") for name in ("expires", "guest", "signature"))
        address = Address(repository, sha256, _number(size), _number(part), _number(expires), guest)
        if not hmac.compare_digest(signature.encode(), address.signature(self._store.signing_key).encode()):
            raise Refusal(403, "This address was not signed by this Hub")
        if address.expires < time.time():
            raise Refusal(403, "This address has expired; ask for another one")
        if not self._store.first("SELECT 1 FROM repositories WHERE id = ?", [repository]):
            raise Refusal(404, "Repository not found", "RepoNotFound")
        return address

    def place(self, address: Address) -> Path:
        """Where bytes that arrive are written: a file of their own, or one that all parts share."""
        name = f"{address.repository}-{address.sha256}"
        return self._store.folder / "uploads" / (name if address.part else f"{name}-{os.urandom(4).hex()}")

    def finish_whole(self, address: Address, written: Path, sha256: str, size: int) -> None:
        """Keep a file that came in one piece.

        Raises:
            Refusal: the bytes are not those that were announced.

        """
        if (sha256, size) != (address.sha256, address.size):
            raise _other_bytes(address, sha256, size)
        self._hold(address, written)

    def finish_part(self, address: Address, etag: str, size: int) -> None:
        """Remember that a part is there.

        Raises:
            Refusal: it has another length.

        """
        if size != address.part_bytes:
            raise bad_request(f"Part {address.part} of {address.sha256} has {size} bytes, {address.part_bytes} belong there")
        with self._store.transaction() as database:
            database.execute(
                "INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?)", [address.repository, address.sha256, address.part, etag]
            )

    def finish_parts(self, address: Address, parts: dict[int | None, str]) -> None:
        """Keep a file all of whose parts (ETag by number) are there.

        Raises:
            Refusal: a part is missing, differs or still arrives, or the whole has another hash.

        """
        rows = self._store.read(
            "SELECT number, etag FROM parts WHERE repository = ? AND sha256 = ?", [address.repository, address.sha256]
        )
        there = {row["number"]: row["etag"] for row in rows}
        named = {number: etag.strip('"') for number, etag in parts.items()}
        written = self._store.folder / "uploads" / f"{address.repository}-{address.sha256}"
        if named != there or set(named) != set(range(1, -(-address.size // PART_BYTES) + 1)) or not written.exists():
            if self.held(address.repository, address.sha256) is not None:
                return  # the same completion, sent again
            raise bad_request(f"Parts of {address.sha256} are missing; send them again")
        with without_writers(written):
            found, size = file_hash(written), written.stat().st_size
            if (found, size) != (address.sha256, address.size):
                with self._store.transaction() as database:
                    database.execute(
                        "DELETE FROM parts WHERE repository = ? AND sha256 = ?", [address.repository, address.sha256]
                    )
                written.unlink()  # or what was written behind its end would stay there for ever
                raise _other_bytes(address, found, size)
            self._hold(address, written)

    def adopt(self, database: sqlite3.Connection, repository: Repository, named: Iterable[str]) -> None:
        """Let large files that guests brought count as the owner's, who has taken them over.

        Raises:
            Refusal: the owner has no room for them.

        """
        brought = [
            (repository.id, sha256)
            for sha256 in named
            if self._store.first("SELECT 1 FROM guests WHERE repository = ? AND sha256 = ?", [repository.id, sha256])
        ]
        database.executemany("DELETE FROM guests WHERE repository = ? AND sha256 = ?", brought)
        if brought:
            self._accounts.check_quota(repository.owner, 0)

    def note_use(self, database: sqlite3.Connection, repository: Repository, files: dict[str, str], reference: str) -> None:
        """Remember under which path (by SHA-256) and in which reference a large file was committed first."""
        database.executemany(
            "UPDATE holdings SET filename = ?, reference = ? WHERE repository = ? AND sha256 = ? AND filename = ''",
            [(path, reference, repository.id, sha256) for sha256, path in files.items()],
        )

    def listed(self, repository: Repository) -> list[dict[str, Any]]:
        """The large files that a repository holds, as the Hub lists them; those that no commit named yet have no filename."""
        rows = self._store.read("SELECT * FROM holdings WHERE repository = ? ORDER BY pushed", [repository.id])
        return [
            {
                "fileOid": row["sha256"],
                "oid": row["sha256"],
                "filename": row["filename"],
                "pushedAt": row["pushed"],
                "ref": row["reference"].removeprefix("refs/heads/"),
                "size": row["size"],
            }
            for row in rows
        ]

    def forget(self, database: sqlite3.Connection, repository: Repository, named: set[str]) -> None:
        """Let go of large files; their bytes go with the next sweep."""
        for query in (
            "DELETE FROM holdings WHERE repository = ? AND sha256 = ?",
            "DELETE FROM blobs WHERE repository = ? AND sha256 = ? AND lfs = 1",  # a regular file may have the same bytes
        ):
            database.executemany(query, [(repository.id, sha256) for sha256 in named])

    def _hold(self, address: Address, written: Path) -> None:
        synchronise(written)  # before the others have to wait for us
        key = [address.repository, address.sha256]
        with self._store.transaction() as database:
            known = self.held(*key) is not None
            if not known:
                owner = self._store.first("SELECT owner FROM repositories WHERE id = ?", [address.repository])
                if owner is None:
                    raise Refusal(404, "Repository not found", "RepoNotFound")
                self._accounts.check_quota(address.guest or owner["owner"], address.size)
            self._store.keep(written, address.sha256)
            database.execute("DELETE FROM parts WHERE repository = ? AND sha256 = ?", key)
            database.execute(
                "INSERT OR IGNORE INTO holdings (repository, sha256, size, pushed) VALUES (?, ?, ?, ?)",
                [*key, address.size, now()],
            )
            if address.guest and not known:
                database.execute("INSERT INTO guests VALUES (?, ?, ?)", [*key, address.guest])

    def _actions(self, repository: Repository, file: Address, base_url: str, in_parts: bool) -> dict[str, Any]:
        def href(part: int) -> str:
            address = replace(file, part=part)
            query = {"expires": file.expires} | ({"guest": file.guest} if file.guest else {})
            query["signature"] = address.signature(self._store.signing_key)
            return f"{base_url}{address.path}?{urlencode(query)}"

        verify = {"href": f"{base_url}/{repository.address}.git/info/lfs/objects/verify"}
        if not in_parts:
            return {"upload": {"href": href(0)}, "verify": verify}
        numbers = range(1, -(-file.size // PART_BYTES) + 1)
        header = {"chunk_size": str(PART_BYTES)} | {f"{number:05d}": href(number) for number in numbers}
        return {"upload": {"href": href(0).replace("/api/lfs/", "/api/lfs-complete/"), "header": header}, "verify": verify}


def _number(text: str) -> int:
    """A number of an address; -1, which no signed one has, for what is none."""
    number = whole(text)
    return -1 if number is None else number


def _checked(described: Fields) -> tuple[str, int]:
    oid, size = described.text("oid"), described.number("size")
    if not _SHA256.fullmatch(oid) or size is None or not 0 <= size <= _MOST_BYTES:
        raise bad_request("An LFS object needs the SHA-256 of its bytes (oid) and its size")
    return oid, size


def _other_bytes(address: Address, sha256: str, size: int) -> Refusal:
    return bad_request(f"{address.sha256} of {address.size} bytes was announced; {size} bytes with SHA-256 {sha256} came")
