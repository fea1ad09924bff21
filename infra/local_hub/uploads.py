"""Files that are still arriving, in uploads/.

The parts of one large file share a file, which may be put together only while nobody writes to it: whoever still had it open could
change bytes whose hash was checked.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

from infra.local_hub.refusal import Refusal
from infra.local_hub.store import Store
from infra.storage import disk_errors


@contextmanager
def open_for_writing(place: Path, offset: int) -> Iterator[FileIO]:
    """The file, made if need be, at an offset.

    Raises:
        Refusal: it is being put together (503).

    """
    descriptor = os.open(place, os.O_RDWR | os.O_CREAT, 0o600)
    with FileIO(descriptor, "r+b") as stream:
        _lock(stream, place, fcntl.LOCK_SH)
        stream.seek(offset)
        yield stream


@contextmanager
def without_writers(place: Path) -> Iterator[None]:
    """Nobody writes to the file while the block runs.

    Raises:
        Refusal: somebody does now, or it has just been put together (503).

    """
    try:
        stream = FileIO(str(place), "rb")
    except FileNotFoundError as error:  # another completion of the same file has just put it in its place
        raise _busy() from error
    with stream:
        _lock(stream, place, fcntl.LOCK_EX)
        yield


def remove_stale_uploads(store: Store, older_than_s: float = 7 * 24 * 3600) -> None:
    """Delete what interrupted uploads left behind a week ago or more, and let go of large files that no commit has named since."""
    before = datetime.fromtimestamp(time.time() - older_than_s, UTC).isoformat()
    with store.transaction() as database:
        database.execute("DELETE FROM holdings WHERE filename = '' AND pushed < ?", [before])
    with disk_errors(store.folder):
        for path in (store.folder / "uploads").iterdir():
            with suppress(FileNotFoundError):  # its upload ends now
                if path.stat().st_mtime < time.time() - older_than_s:
                    path.unlink()


def _lock(stream: FileIO, place: Path, kind: int) -> None:
    try:
        fcntl.flock(stream, kind | fcntl.LOCK_NB)
        same = os.path.samestat(os.fstat(stream.fileno()), place.stat())
    except (BlockingIOError, FileNotFoundError):
        same = False
    if not same:
        raise _busy()


def _busy() -> Refusal:
    return Refusal(503, "Other parts of this file are arriving, or are being put together", None, {"Retry-After": "1"})
