"""The files of one repository: small ones in the database, others beside it, large ones behind an LFS pointer."""

import sqlite3
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.local_hub.git_patterns import is_lfs
from infra.local_hub.identity import blob_id, blob_id_of, lfs_pointer
from infra.local_hub.refusal import unknown_entry
from infra.local_hub.store import Store, synchronise
from infra.local_hub.trees import Trees
from infra.storage import file_hash

LFS_BYTES = 10 * 1000 * 1000  # a larger file always goes to LFS
_IN_DATABASE_BYTES = 64 * 1024
_MOST_TEXT_BYTES = 4 << 20
_MANY = 500  # values in one SQL statement

DEFAULT_LFS_PATTERNS = (
    *"*.7z *.arrow *.bin *.bz2 *.ckpt *.ftz *.gz *.h5 *.joblib *.lz4 *.mlmodel *.model *.msgpack *.npy *.npz *.onnx *.ot".split(),
    *"*.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors saved_model/**/* *.tar.* *.tar *.tflite *.tgz *.wasm".split(),
    *"*.xz *.zip *.zst *tfevents* *.pcm *.sam *.raw *.aac *.flac *.mp3 *.ogg *.wav *.webm *.mp4".split(),
)


@dataclass(frozen=True)
class Blob:
    """One file's content: `oid` is Git's name for it (or for its pointer), `sha256` that of bytes beside the database."""

    oid: str
    size: int
    sha256: str | None
    lfs: bool

    @property
    def etag(self) -> str:
        """What tells this content from all other."""
        return self.sha256 if self.lfs and self.sha256 else self.oid

    @property
    def pointer_size(self) -> int:
        """Bytes of the LFS pointer."""
        return len(lfs_pointer(self.sha256 or "", self.size))


class Blobs:
    """Reads and writes the content of one repository's files."""

    def __init__(self, store: Store, repository: str) -> None:
        self._store, self._repository = store, repository

    def get(self, oids: Sequence[str]) -> dict[str, Blob]:
        """Descriptions by id."""
        found: dict[str, Blob] = {}
        for start in range(0, len(oids), _MANY):
            some = list(oids[start : start + _MANY])
            marks = ",".join("?" * len(some))
            rows = self._store.read(
                f"SELECT oid, size, sha256, lfs FROM blobs WHERE repository = ? AND oid IN ({marks})",  # noqa: S608 - marks
                [self._repository, *some],
            )
            found |= {row["oid"]: Blob(row["oid"], row["size"], row["sha256"], bool(row["lfs"])) for row in rows}
        return found

    def add(self, database: sqlite3.Connection, content: bytes) -> str:
        """Keep a regular file's bytes; its id."""
        oid = blob_id(content)
        if not self._known(oid):
            small = len(content) <= _IN_DATABASE_BYTES
            sha256 = None if small else self._store.keep_bytes(content)
            database.execute(
                "INSERT INTO blobs VALUES (?, ?, ?, ?, 0, ?)",
                [self._repository, oid, len(content), sha256, content if small else None],
            )
        return oid

    def add_file(self, database: sqlite3.Connection, written: Path) -> str:
        """The same for bytes in a file in uploads/, which may be moved."""
        oid = blob_id_of(written)
        if not self._known(oid):
            sha256, size = file_hash(written), written.stat().st_size
            synchronise(written)
            self._store.keep(written, sha256)
            database.execute("INSERT INTO blobs VALUES (?, ?, ?, ?, 0, NULL)", [self._repository, oid, size, sha256])
        return oid

    def _known(self, oid: str) -> bool:
        return self._store.first("SELECT 1 FROM blobs WHERE repository = ? AND oid = ?", [self._repository, oid]) is not None

    def add_lfs(self, database: sqlite3.Connection, sha256: str, size: int) -> str:
        """Keep the pointer to a large file that the repository holds; the pointer's id.

        A pointer that was committed as a file, by a clone without Git LFS, becomes the large file.
        """
        oid = blob_id(lfs_pointer(sha256, size))
        database.execute(
            "INSERT INTO blobs VALUES (?, ?, ?, ?, 1, NULL) ON CONFLICT (repository, oid) DO UPDATE "
            "SET size = excluded.size, sha256 = excluded.sha256, lfs = 1, content = NULL",
            [self._repository, oid, size, sha256],
        )
        return oid

    def read(self, blob: Blob, start: int = 0, end: int | None = None) -> Generator[bytes, None, None]:
        """Bytes from `start` to before `end`, a block at a time; once this returns, nobody can take them away.

        Raises:
            Refusal: EntryNotFound, where somebody deleted them since `blob` was described.

        """
        end = blob.size if end is None else end
        if blob.sha256:
            try:
                return self._store.read_blocks(blob.sha256, start, end)
            except FileNotFoundError as error:
                raise unknown_entry() from error
        row = self._store.first("SELECT content FROM blobs WHERE repository = ? AND oid = ?", [self._repository, blob.oid])
        if row is None:
            raise unknown_entry()
        return (content for content in (bytes(row["content"][start:end]),))

    def text(self, trees: Trees, root: str, path: str) -> str | None:
        """A text file of a revision, if it is there and of at most 4 MiB."""
        entry = trees.find(root, path)
        if entry is None or entry.is_folder:
            return None
        blob = self.get([entry.oid])[entry.oid]
        return None if blob.lfs or blob.size > _MOST_TEXT_BYTES else b"".join(self.read(blob)).decode(errors="replace")


def default_gitattributes() -> str:
    """What the Hub writes into a new repository."""
    return "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in DEFAULT_LFS_PATTERNS)


def goes_to_lfs(path: str, size: int, gitattributes: str) -> bool:
    """Whether a file is kept behind a pointer: it is large, or the repository's .gitattributes says so. Empty files never are."""
    if size == 0:
        return False
    if size >= LFS_BYTES:
        return True
    return is_lfs(path, gitattributes)
