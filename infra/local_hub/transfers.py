"""Memory for the bytes of files on their way: large blocks while few files move, which is faster, and small ones when many do."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ROOM_BYTES, _SHARE = 8 << 20, 8
_SMALLEST_BLOCK, _LARGEST_BLOCK = 1 << 16, 1 << 20
_BLOCKS_HELD = 2  # by each transfer: one arrives or is sent while the other is written or read


class Transfers:
    """The transfers of one Hub. Together they hold at most 8 MiB, and 128 KiB more for each that finds no room left."""

    def __init__(self) -> None:
        self._lock, self._left = threading.Lock(), _ROOM_BYTES

    @contextmanager
    def block_bytes(self) -> Iterator[int]:
        """The length of the two blocks that a transfer may hold while this block runs."""
        with self._lock:
            size = max(_SMALLEST_BLOCK, min(_LARGEST_BLOCK, self._left // _SHARE))
            self._left -= _BLOCKS_HELD * size
        try:
            yield size
        finally:
            with self._lock:
                self._left += _BLOCKS_HELD * size
