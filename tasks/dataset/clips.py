"""Clips that were taken in once: their samples by the hash of the sound, what was found in them by the hash of all that makes it.

A home has one store. Versions hold hard links to its files, so that a dataset folder is whole by itself and costs no second copy. A
clip is written whole before it is remembered, and remembered in a transaction: a kill costs the shard at hand. Refusals are
remembered, too. Files are hashed once: their size, inode and times tell whether they are still the same.
"""

import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from infra.storage import disk_errors, exclusive, file_hash, shared, write_bytes
from tasks.contracts import Contract, Measurements, Refusal
from tasks.speech.audio import encoded_clip

if TYPE_CHECKING:
    import numpy as np

CLIPS_FOLDER = "clips"  # of the home
_SCHEMA = """
CREATE TABLE IF NOT EXISTS clips (key TEXT PRIMARY KEY, audio TEXT, record TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS clips_of_audio ON clips (audio);
CREATE TABLE IF NOT EXISTS prints (audio TEXT PRIMARY KEY, print BLOB NOT NULL, compared INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS prints_to_compare ON prints (audio) WHERE compared = 0;
CREATE TABLE IF NOT EXISTS near (one TEXT, other TEXT, PRIMARY KEY (one, other)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, state TEXT NOT NULL, hash TEXT NOT NULL) WITHOUT ROWID;
"""
_PRINT = """
INSERT INTO prints VALUES (?, ?, 0) ON CONFLICT (audio) DO UPDATE SET print = excluded.print, compared = 0 WHERE print != excluded.print
"""  # a print of another version is not comparable
_FORGETTING = (
    "DELETE FROM clips WHERE audio = ?",
    "DELETE FROM prints WHERE audio = ?",
    "DELETE FROM near WHERE one = ?",
    "DELETE FROM near WHERE other = ?",
)
_MANY, _READ_PAST = 5_000, 4  # looking up a row takes about four times as long as reading on to the next
_AT_ONCE = 500  # values of one question; SQLite's own limit was 999 for long
_PATIENCE_S = 60.0  # with another process that writes
_SETTLED_NS = (
    2_000_000_000  # a file that changed later than that before it was hashed may change again within one tick of its clock
)
_READ_ONLY = 0o444  # the bytes are shared by all versions that hold the clip
_HEADER_BYTES, _SAMPLE_BYTES = 44, 2


class Kept(Contract):
    """A clip that was taken in. Its samples lie in the store under `audio_hash`."""

    audio_hash: str
    samples: int
    text: str
    language: str
    measured: Measurements | None
    warnings: tuple[str, ...]


class Refused(Contract):
    """A clip that was not, and why."""

    reason: str
    kind: Refusal


class FileState(NamedTuple):
    """What tells, without reading it, whether a file is still the same."""

    size: int
    modified_ns: int
    changed_ns: int
    inode: int


class File(NamedTuple):
    """A file as it was found, and hex SHA-256 of its bytes; None: there is none, or it cannot be read."""

    state: FileState | None
    hash: str | None


def file_state(path: Path | str) -> FileState | None:
    """None where there is no such file, or none that we may look at."""
    try:
        found = os.stat(path)  # noqa: PTH116  # much faster with a text than by way of Path, for files by the hundred thousand
    except (OSError, ValueError):
        return None
    return FileState(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def is_settled(state: FileState) -> bool:
    """Whether it changed so long ago that another change would have another time."""
    return time.time_ns() - state.changed_ns > _SETTLED_NS


def clip_name(audio_hash: str) -> str:
    """The file of a clip, in a version's wavs/ as in the store."""
    return f"{audio_hash[:20]}.wav"


class ClipStore:
    """The clips of one home, or of one run that keeps nothing.

    Args:
        folder: where it lies; it is made if it is not there.

    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._wavs = folder / "wavs"
        self._lock = folder / ".lock"
        with disk_errors(folder):
            self._wavs.mkdir(parents=True, exist_ok=True)
        with self._database() as database:
            database.executescript(_SCHEMA)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While the block runs, nobody removes clips; others may use them, too."""
        with disk_errors(self.folder), shared(self._lock):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While the block runs, nobody else uses the store; waits for those who do."""
        with disk_errors(self.folder), exclusive(self._lock):
            yield

    def clip(self, audio_hash: str) -> Path:
        """Where a clip's samples lie, or will."""
        return Path(self._place(audio_hash))

    def _place(self, audio_hash: str) -> str:
        return f"{self._wavs}/{audio_hash[:2]}/{clip_name(audio_hash)}"

    def file_hashes(self, paths: Sequence[Path | str]) -> list[str | None]:
        """Hex SHA-256 of each file's bytes; None for what cannot be read. Only what changed since the last time is read."""
        return [one.hash for one in self.files(paths)]

    def files(self, paths: Sequence[Path | str]) -> list[File]:
        """The same, and how each file was before it was read."""
        here = str(Path.cwd())
        absolute = [os.path.join(here, path) for path in paths]  # noqa: PTH118  # a third of the time that Path takes
        places = [hashlib.sha256(os.fsencode(path)).hexdigest() for path in absolute]
        states = [file_state(path) for path in absolute]
        with self._database() as database:
            known = {place: (told, found) for place, told, found in _rows(database, "path, state, hash", "files", places)}
        said = [known.get(place, ("", None)) for place in places]
        hashes = [found if state and told == _spelled(state) else None for (told, found), state in zip(said, states, strict=True)]
        unknown = [number for number, found in enumerate(hashes) if found is None and states[number]]
        with ThreadPoolExecutor(os.cpu_count()) as threads:  # hashing lets other threads run
            for number, found in zip(unknown, threads.map(_hash, (Path(absolute[number]) for number in unknown)), strict=True):
                hashes[number] = found
        new = [
            (places[number], _spelled(state), hashes[number])
            for number in unknown
            if (state := states[number]) and hashes[number] and state == file_state(absolute[number]) and is_settled(state)
        ]
        with self._database() as database:
            database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", new)
        return [File(state, found) for state, found in zip(states, hashes, strict=True)]

    def find(self, keys: Iterable[str]) -> dict[str, Kept | Refused]:
        """What is known under these keys; a clip whose file is gone or cut short is not known."""
        with self._database() as database:
            rows = _rows(database, "key, audio, record", "clips", list(dict.fromkeys(keys)))
            found = {key: (Kept if audio else Refused).model_validate_json(record) for key, audio, record in rows}
        return {
            key: record
            for key, record in found.items()
            if isinstance(record, Refused) or self.is_whole(record.audio_hash, record.samples)
        }

    def remember(self, records: Mapping[str, Kept | Refused], prints: "Mapping[str, np.ndarray]") -> None:
        """Keep what was found, under its keys, and the prints of the sounds; all of it, or nothing if we are killed."""
        rows = [
            (key, record.audio_hash if isinstance(record, Kept) else None, record.model_dump_json())
            for key, record in records.items()
        ]
        with self._database() as database:
            database.executemany("INSERT OR REPLACE INTO clips VALUES (?, ?, ?)", rows)
            blobs = [(audio, words.tobytes()) for audio, words in prints.items()]
            database.executemany(_PRINT, blobs)

    def prints_to_compare(self, most: int) -> "dict[str, np.ndarray]":
        """Prints by audio hash of clips that were not compared with the others yet."""
        with self._database() as database:
            return _prints(database.execute("SELECT audio, print FROM prints WHERE compared = 0 ORDER BY audio LIMIT ?", [most]))

    def compared_prints(self, at_once: int) -> "Iterator[dict[str, np.ndarray]]":
        """Those of all that were, so many at a time."""
        with self._database() as database:
            answers = database.execute("SELECT audio, print FROM prints WHERE compared = 1")
            while rows := answers.fetchmany(at_once):
                yield _prints(rows)

    def prints_of(self, audio_hashes: Sequence[str]) -> "dict[str, np.ndarray]":
        """The prints that are known of these sounds."""
        with self._database() as database:
            return _prints(_rows(database, "audio, print", "prints", audio_hashes))

    def remember_near(self, pairs: Iterable[tuple[str, str]], compared: Iterable[str]) -> None:
        """Keep which recordings are nearly the same, and which were compared with all others."""
        with self._database() as database:
            database.executemany("INSERT OR IGNORE INTO near VALUES (?, ?)", (sorted(pair) for pair in pairs))
            database.executemany("UPDATE prints SET compared = 1 WHERE audio = ?", ([audio] for audio in compared))

    def near_pairs(self) -> list[tuple[str, str]]:
        """Recordings that are nearly the same, by audio hash."""
        with self._database() as database:
            return list(database.execute("SELECT one, other FROM near ORDER BY one, other"))

    def write(self, audio_hash: str, samples: "np.ndarray") -> None:
        """Put a clip's int16 samples there, whole or not at all, if they are not there yet."""
        path = self.clip(audio_hash)
        if not path.exists():
            with disk_errors(self.folder):
                path.parent.mkdir(exist_ok=True)
            write_bytes(path, encoded_clip(samples), mode=_READ_ONLY)

    def lend(self, audio_hash: str, folder: Path) -> str:
        """Link a clip into a folder, or copy it where that is another disk or takes no links; returns the file's name."""
        name = clip_name(audio_hash)
        with suppress(FileExistsError):
            link_or_copy(self._place(audio_hash), f"{folder}/{name}")
        return name

    def audio_hashes(self) -> set[str]:
        """Every sound that some record tells of."""
        with self._database() as database:
            return {audio for (audio,) in database.execute("SELECT DISTINCT audio FROM clips WHERE audio IS NOT NULL")}

    def forget(self, audio_hashes: Iterable[str]) -> int:
        """Remove clips and all that was found in them, without a trace in the file of the index; returns the bytes of their files."""
        gone = sorted(audio_hashes)
        with self._database() as database:
            for question in _FORGETTING:
                database.executemany(question, [(audio,) for audio in gone])
        return sum(_removed(self.clip(audio)) for audio in gone)

    def forget_refusals(self) -> None:
        """Remove what is known of refused clips: they are looked at again when they are brought again."""
        with self._database() as database:
            database.execute("DELETE FROM clips WHERE audio IS NULL")

    def strays(self) -> list[Path]:
        """Files that no record tells of: what a killed run wrote last."""
        known = {clip_name(audio) for audio in self.audio_hashes()}
        return sorted(path for path in self._wavs.glob("*/*") if path.name not in known)

    def is_whole(self, audio_hash: str, samples: int) -> bool:
        """Whether a clip is there, with all of its samples."""
        state = file_state(self._place(audio_hash))
        return state is not None and state.size == _HEADER_BYTES + _SAMPLE_BYTES * samples

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        """One transaction: everything in it, or nothing."""
        with disk_errors(self.folder):
            database = sqlite3.connect(self.folder / "index.sqlite", timeout=_PATIENCE_S)
            try:
                database.execute("PRAGMA secure_delete = ON")  # what is removed is overwritten
                with database:
                    yield database
            finally:
                database.close()


def link_or_copy(source: Path | str, target: Path | str) -> None:
    """A second name of the same bytes; other bytes, whole, where that is another disk or one without links."""
    try:
        os.link(source, target)
    except (PermissionError, NotImplementedError):
        shutil.copy2(source, target)
    except OSError as error:
        if isinstance(error, FileExistsError | FileNotFoundError):
            raise
        shutil.copy2(source, target)  # EXDEV, EMLINK, EOPNOTSUPP: the disk's own reasons differ


def _prints(rows: Iterable[tuple[str, bytes]]) -> "dict[str, np.ndarray]":
    import numpy as np

    return {audio: np.frombuffer(words, dtype="<u4") for audio, words in rows}


def _rows(database: sqlite3.Connection, columns: str, table: str, values: Sequence[str]) -> Iterator[Any]:
    """The rows of a table whose first column is any of the values; where these are most of the table, it is read from end to end."""
    every, key = f"SELECT {columns} FROM {table}", columns.partition(",")[0]  # noqa: S608 the names are ours
    if len(values) > _MANY and _READ_PAST * len(values) > _size(database, table):
        wanted = set(values)
        yield from (row for row in database.execute(every) if row[0] in wanted)
        return
    for start in range(0, len(values), _AT_ONCE):
        some = values[start : start + _AT_ONCE]
        yield from database.execute(f"{every} WHERE {key} IN ({', '.join('?' * len(some))})", some)


def _size(database: sqlite3.Connection, table: str) -> int:
    (rows,) = database.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
    return int(rows)


def _spelled(state: FileState) -> str:
    return f"{state.size}-{state.modified_ns}-{state.changed_ns}-{state.inode}"


def _hash(path: Path) -> str | None:
    try:
        return file_hash(path)
    except OSError:  # ingestion refuses it with its reason
        return None


def _removed(path: Path) -> int:
    try:
        size = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    return size
