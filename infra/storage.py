"""Atomic writes and content addresses: nothing half-written is ever visible under its final name.

A file or folder is written beside its place and renamed when complete.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.errors import HomeError, VoxFactoryError

_ROOM_BYTES = 1 << 20
_STALE_S = 24 * 3600


def content_hash(*parts: object) -> str:
    """Hex SHA-256 of values that JSON can write, by value: equal parts, equal hash, on every machine."""
    return hashlib.sha256(_canonical.encode(parts).encode()).hexdigest()


def _jsonable(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} has no stable JSON form and cannot be part of a content address")


_canonical = json.JSONEncoder(sort_keys=True, ensure_ascii=False, default=_jsonable)


def file_hash(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, read in blocks."""
    with path.open("rb", buffering=0) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_hash(folder: Path, pattern: str = "*") -> str:
    """Hex SHA-256 over the names and bytes of the files in a folder that match the pattern, not descending."""
    files = sorted(path for path in folder.glob(pattern) if path.is_file())
    return content_hash([[path.name, file_hash(path)] for path in files])


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into a HomeError that names the place."""
    try:
        yield
    except shutil.Error as error:  # of copytree: it hides what went wrong in a list of texts
        if has_room(path):
            raise
        raise full_disk(path) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise full_disk(path) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM) and _is_about(error, path):
            raise HomeError(
                f"{path} cannot be written: {error.strerror}", "Set VOXFACTORY_HOME to a folder that you may write"
            ) from error
        raise


def _is_about(error: OSError, path: Path) -> bool:
    """Whether an error names the place, something in it, above it, or unfinished beside it; what lies elsewhere was only read."""
    place = path.absolute()
    unfinished = str(place.with_name(f".{place.name}."))
    named = [Path(name).absolute() for name in (error.filename, error.filename2) if isinstance(name, str)]
    ours = (n.is_relative_to(place) or place.is_relative_to(n) or str(n).startswith(unfinished) for n in named)
    return not named or any(ours)


@contextmanager
def readable(path: Path, kind: type[VoxFactoryError]) -> Iterator[None]:
    """Turn broken JSON, or JSON of another version of the factory, into an error that names the file."""
    try:
        yield
    except (ValueError, TypeError) as error:  # JSON's and pydantic's errors are ValueErrors
        reason = str(error).splitlines()[0]
        raise kind(f"{path} cannot be read: {reason}", "It is damaged or of another version: make it again") from error


def full_disk(path: Path) -> HomeError:
    """The error of a disk that has no room left."""
    return HomeError(f"The disk of {path} is full", "Free some space or set VOXFACTORY_HOME to another disk, then start again")


def has_room(path: Path) -> bool:
    """Whether the disk takes another megabyte: libraries that write for us do not say that it was full."""
    return shutil.disk_usage(path).free > _ROOM_BYTES


def write_text(path: Path, text: str, mode: int = 0o644) -> Path:
    """Write a file whole or not at all; `mode` says who may read it."""
    return write_bytes(path, text.encode(), mode)


def write_bytes(path: Path, content: bytes, mode: int = 0o644, durable: bool = False) -> Path:
    """Write a file whole or not at all; a durable one is on the disk before it has its name, and survives a power cut."""
    with disk_errors(path):
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        unfinished = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                if durable:
                    stream.flush()
                    os.fsync(stream.fileno())
            unfinished.chmod(mode)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    return path


def write_json(path: Path, value: object, mode: int = 0o644) -> Path:
    """Write indented JSON, whole or not at all."""
    return write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=_jsonable) + "\n", mode)


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """A folder to fill; it takes its final name when the block ends well and vanishes when it does not.

    Whatever stood under the final name is moved aside first and removed last.
    """
    with disk_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        _sweep(final)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
        unfinished.chmod(0o755)
        try:
            yield unfinished
            _put_in_place(unfinished, final)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _sweep(final: Path) -> None:
    """Remove what writers of this folder left behind when they were killed, a day ago or more."""
    for left in final.parent.glob(f".{final.name}.*"):
        if left.is_dir() and left.stat().st_mtime < time.time() - _STALE_S:
            shutil.rmtree(left, ignore_errors=True)


def _put_in_place(unfinished: Path, final: Path) -> None:
    aside = unfinished.with_name(f"{unfinished.name}.old")
    if final.exists():
        final.replace(aside)
    unfinished.replace(final)
    shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock file alone while the block runs; waits for whoever holds it."""
    with _locked(path, fcntl.LOCK_EX):
        yield


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """Hold a lock file together with others while the block runs; waits for one who holds it alone."""
    with _locked(path, fcntl.LOCK_SH):
        yield


@contextmanager
def exclusive_if_free(path: Path) -> Iterator[bool]:
    """Hold a lock file alone while the block runs, or tell it that somebody else holds it: nobody is waited for."""
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = True
        except BlockingIOError:
            ours = False
        yield ours


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        fcntl.flock(lock, how)
        yield
