"""The database and the large files of a Hub: transactions, and bytes under the hash of their content.

Transactions are synchronous to disk: what a client was told stands after a power cut. Large files are written beside their place,
synchronised and renamed; the row that makes one known is written in the same transaction, under the lock that deleting takes too.
"""

import hashlib
import os
import secrets
import sqlite3
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from infra.local_hub.transfers import Transfers
from infra.storage import disk_errors

_BUSY_S = 60
_HOLDERS = "SELECT 1 FROM holdings WHERE sha256 = ? UNION ALL SELECT 1 FROM blobs WHERE sha256 = ? LIMIT 1"
_SCHEMA = Path(__file__).with_name("schema.sql")


def now() -> str:
    """The time as the Hub writes it: 2026-11-22T19:36:39.000Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Own(threading.local):
    """What each thread has of its own: its connection, whether it reads a snapshot, and the files that its transaction kept."""

    connection: sqlite3.Connection | None = None
    reading = False
    kept: list[str]


class Store:
    """One folder: hub.sqlite3, files/ab/abcdef..., uploads/."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
            for name in ("files", "uploads"):
                (folder / name).mkdir(exist_ok=True)
        self._own, self.transfers = _Own(), Transfers()
        with self.transaction() as database:
            for statement in _SCHEMA.read_text(encoding="utf-8").split(";\n"):
                database.execute(statement)
            database.execute("INSERT OR IGNORE INTO meta VALUES ('signing-key', ?)", [secrets.token_hex(32)])
        (folder / "hub.sqlite3").chmod(0o600)
        self.signing_key = bytes.fromhex(self.read("SELECT value FROM meta WHERE key = 'signing-key'")[0]["value"])

    @property
    def database(self) -> sqlite3.Connection:
        """The connection of the thread that asks."""
        connection = self._own.connection
        if connection is None:
            connection = sqlite3.connect(self.folder / "hub.sqlite3", timeout=_BUSY_S, isolation_level=None)
            connection.row_factory = sqlite3.Row
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-2000", "secure_delete=ON"):
                connection.execute(f"PRAGMA {pragma}")
            self._own.connection = connection
        return connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Change the database: everything in the block, or nothing; one writer at a time. A block inside a block is part of it."""
        database = self.database
        if self._own.reading:
            self._own.reading = False
            _roll_back(database)
        if database.in_transaction:
            yield database
            return
        database.execute("BEGIN IMMEDIATE")
        kept: list[str] = []
        self._own.kept = kept
        try:
            yield database
            database.execute("COMMIT")
        except BaseException:
            _roll_back(database)
            self._drop(kept)
            raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Read everything in the block as it is at one moment, whatever others change meanwhile; a change in the block ends that."""
        self.database.execute("BEGIN")
        self._own.reading = True
        try:
            yield
        finally:
            if self._own.reading:
                self._own.reading = False
                _roll_back(self.database)

    def read(self, query: str, values: "tuple[object, ...] | list[object]" = ()) -> list[sqlite3.Row]:
        """Rows as they are now, or inside this thread's transaction."""
        return self.database.execute(query, values).fetchall()

    def first(self, query: str, values: "tuple[object, ...] | list[object]" = ()) -> sqlite3.Row | None:
        """The first row, if there is one."""
        row: sqlite3.Row | None = self.database.execute(query, values).fetchone()
        return row

    def file(self, sha256: str) -> Path:
        """Where the bytes of that hash lie, or would."""
        return self.folder / "files" / sha256[:2] / sha256

    def read_blocks(self, sha256: str, start: int, end: int) -> Generator[bytes, None, None]:
        """The bytes of that hash, whose file is opened at once, from `start` to before `end`, a block at a time."""
        return _blocks(self.transfers, self.file(sha256).open("rb"), start, end)

    def keep(self, written: Path, sha256: str) -> None:
        """Give a file that was written in uploads/, and synchronised, its final name: inside the transaction that makes it known."""
        final = self.file(sha256)
        with disk_errors(final):
            final.parent.mkdir(exist_ok=True)
            written.replace(final)
            self._own.kept.append(sha256)
            for folder in (final.parent, final.parent.parent):
                synchronise(folder)

    def keep_bytes(self, content: bytes) -> str:
        """The same for bytes in memory; returns their SHA-256."""
        sha256 = hashlib.sha256(content).hexdigest()
        with disk_errors(self.folder):
            written = self.folder / "uploads" / f"{sha256}-{secrets.token_hex(4)}"
            try:
                written.write_bytes(content)
                synchronise(written)
                self.keep(written, sha256)
            finally:
                written.unlink(missing_ok=True)
        return sha256

    def sweep(self) -> None:
        """Delete large files that no repository holds."""
        self._drop(path.name for path in (self.folder / "files").glob("*/*"))

    def _drop(self, files: Iterable[str]) -> None:
        """Delete those of the files (by SHA-256) that nobody holds. Nobody can come to hold one meanwhile: that takes the same lock."""
        for sha256 in files:
            if self.first(_HOLDERS, [sha256, sha256]) is None:
                with self.transaction():
                    if self.first(_HOLDERS, [sha256, sha256]) is None:
                        self.file(sha256).unlink(missing_ok=True)


def _roll_back(database: sqlite3.Connection) -> None:
    if database.in_transaction:  # after some errors SQLite has done it already
        database.execute("ROLLBACK")


def synchronise(path: Path) -> None:
    """Let a file's bytes, or a folder's names, reach the disk."""
    with disk_errors(path):
        descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _blocks(transfers: Transfers, opened: BinaryIO, start: int, end: int) -> Generator[bytes, None, None]:
    with opened as stream, transfers.block_bytes() as most:
        stream.seek(start)
        while start < end and (block := stream.read(min(most, end - start))):
            start += len(block)
            yield block
