"""The lines of a commit in constant memory: the base64 of a long line goes to a file, one piece after the other."""

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from infra.local_hub.blobs import LFS_BYTES
from infra.local_hub.fields import Fields, parsed
from infra.local_hub.refusal import Refusal

LONGEST_LINE_BYTES = LFS_BYTES * 4 // 3 + (1 << 16)  # a file that is just too small for LFS, as base64, and its path
_PIECE_BYTES = 1 << 17
_LONGEST_TEXT_BYTES = 1 << 20  # of a line, without the base64 that was cut out of it
_MOST_LINES = 25_000
_CONTENT = re.compile(rb'(?<!\\)"content"\s*:\s*"')  # a key: inside of a text its quotes would have backslashes
_NO_BASE64 = re.compile(rb"[^A-Za-z0-9+/=]")


@dataclass(frozen=True)
class Line:
    """What a line says. If its content was long, it lies decoded in `content`, and the fields have an empty one."""

    fields: Fields
    length: int
    content: Path | None = None


class Lines:
    """Reads the lines of a commit; `scratch` is where the content of a long one lies until the next is read."""

    def __init__(self, stream: BinaryIO, scratch: Path) -> None:
        self._stream, self._scratch = stream, scratch

    def __iter__(self) -> Iterator[Line]:
        """All lines that are not empty.

        Raises:
            Refusal: one is no JSON object or has too much text, or there are too many (413).

        """
        left = _MOST_LINES
        while piece := self._stream.readline(_PIECE_BYTES):
            if not left:
                raise Refusal(413, f"A commit has at most {_MOST_LINES} lines: make several")
            left -= 1
            if piece.endswith(b"\n") or len(piece) < _PIECE_BYTES:
                if not piece.isspace():
                    yield Line(Fields(parsed(piece)), len(piece))
            else:
                yield self._long(piece)

    def _long(self, piece: bytes) -> Line:
        begin, found = self._stream.tell() - len(piece), _CONTENT.search(piece)
        if found and (rest := self._decode(piece[found.end() :])) is not None:
            text = piece[: found.end()] + self._rest(rest)
            line = Line(Fields(parsed(text)), len(text), self._scratch)
            value = line.fields.inner("value")
            if value.text("encoding") == "base64" and not value.text("content"):
                return line
        self._stream.seek(begin)
        text = self._rest(b"")
        return Line(Fields(parsed(text)), len(text))

    def _decode(self, piece: bytes) -> bytes | None:
        """Decode into the scratch file up to where the base64 ends; what follows in the last piece, or None if it is no base64."""
        left = b""
        with self._scratch.open("wb") as target:
            while True:
                other = _NO_BASE64.search(piece)
                ended = other is not None or not piece
                left += piece[: other.start()] if other else piece
                ready = len(left) if ended else len(left) // 4 * 4
                try:
                    target.write(binascii.a2b_base64(left[:ready], strict_mode=True))
                except binascii.Error:
                    return None
                if ended:
                    return piece[other.start() :] if other else b""
                if b"=" in left[:ready]:
                    return None  # it ended before it ends
                left = left[ready:]
                piece = self._stream.readline(_PIECE_BYTES)

    def _rest(self, begun: bytes) -> bytes:
        """The line to its end.

        Raises:
            Refusal: it is too long.

        """
        text = begun if begun.endswith(b"\n") else begun + self._stream.readline(_LONGEST_TEXT_BYTES + 1)
        if len(text) > _LONGEST_TEXT_BYTES:
            raise Refusal(413, f"A line of the commit has more than {_LONGEST_TEXT_BYTES} bytes that are no base64")
        return text
