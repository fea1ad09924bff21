"""What must not be published: each file of a repository folder is looked at before anything is sent.

Only files whose names are listed go in: no optimizer state, no pickle, no checkpoint. Weights must be safetensors. No text, nor the head
of a weights file, may hold a token, a path of the machine that made it, or the name of who ran it. The texts of a table may name
people: whether a transcript may be published is a question to who speaks there, not to this machine.
"""

import getpass
import json
import re
import struct
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from infra.errors import PublishingError
from infra.redaction import redacted
from infra.storage import content_hash, file_hash, write_json

MANIFEST = "publication.json"  # what a publication put into a repository: the next one may replace these files and no others
_TEXT_SUFFIXES = {".json", ".md", ".jsonl", ".txt", ".jinja"}
_WEIGHTS_SUFFIX, _TABLE_SUFFIX = ".safetensors", ".parquet"
_TOKEN = re.compile(r"(?<![A-Za-z0-9])(hf|sk|ghp|github_pat|xox[abp])[_-][A-Za-z0-9_-]{20,}")
_HOME_FOLDER = re.compile(r"(?<!\w)(/home/|/root/|/Users/|[A-Z]:\\+Users\\)")
_LARGEST_BYTES = 50_000_000_000  # the Hub takes no larger file
_LONGEST_HEAD_BYTES = 100_000_000  # of a safetensors file, by its own rule
_PARTS_OF_A_PLACE = 3  # "/", a folder, a folder in it: shorter paths stand in texts that mean no place
_SHORTEST_NAME = 4  # a shorter user name is a word of some language
_NOBODYS_NAMES = set("root user users admin ubuntu debian runner jovyan jupyter docker nobody voxfactory model data test".split())


def finish(folder: Path, allowed: Iterable[str], private: Iterable[str]) -> str:
    """Check every file of a repository folder and write its manifest; the hash of its content.

    Args:
        folder: what is to be published.
        allowed: patterns of the names that may stand in it; `*` stops at a folder's end.
        private: words that no text in it may hold.

    Raises:
        PublishingError: a file that must not be published, and why.

    """
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if not path.is_dir()}
    for name, path in files.items():
        _check(name, path, tuple(allowed), tuple(private))
    content = content_hash([[name, file_hash(path)] for name, path in files.items()])
    write_json(folder / MANIFEST, {"made_by": "voxfactory", "content": content, "files": [*files, MANIFEST]})
    return content


def private_words(name: str, *folders: Path) -> tuple[str, ...]:
    """What nothing published as `name` may hold: folders of this machine, and the name of who runs this, unless it is in `name`."""
    places = [place for folder in folders for place in (folder, folder.parent) if len(place.parts) >= _PARTS_OF_A_PLACE]
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        user = ""
    hidden = len(user) >= _SHORTEST_NAME and user.lower() not in _NOBODYS_NAMES and user.lower() not in name.lower()
    return (*dict.fromkeys(map(str, places)), *((user,) if hidden else ()))


def _check(name: str, path: Path, allowed: tuple[str, ...], private: tuple[str, ...]) -> None:
    def refuse(found: str) -> PublishingError:
        return PublishingError(f"{name} {found}", "Remove it from the run, the data or the options and make it again")

    if not any(fnmatch(name, pattern) and name.count("/") == pattern.count("/") for pattern in allowed):
        raise refuse("is not among the files that are published")
    size = path.stat().st_size
    if not 0 < size <= _LARGEST_BYTES:
        raise refuse(f"has {size} bytes")
    spoken = path.suffix == _TABLE_SUFFIX
    words = tuple(word for word in private if word.startswith("/")) if spoken else private
    for text in _texts(path):
        if text is None:
            raise refuse("is not what its name says")
        if _TOKEN.search(text) or redacted(text) != text:
            raise refuse("holds an access token")
        home = _HOME_FOLDER.search(text)
        word = home[0] if home else next((word for word in words if _stands_in(word, text)), None)
        if word:
            raise refuse(f"holds a path or a user name of this machine ({word})")


def _texts(path: Path) -> Iterator[str | None]:
    """What of a file can be read: a text, the head of safetensors, the texts of a table, a picture as it is; None if it is no such file."""
    if path.suffix == _WEIGHTS_SUFFIX:
        yield _head(path)
    elif path.suffix == _TABLE_SUFFIX:
        yield from _table(path)
    elif path.suffix in _TEXT_SUFFIXES:
        try:
            yield path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            yield None
    else:
        yield path.read_bytes().decode("latin-1")


def _table(path: Path) -> Iterator[str | None]:
    """The description of a parquet file, then its columns of text, a group of rows at a time."""
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as table:
            schema = table.schema_arrow
            yield schema.to_string(truncate_metadata=False)
            texts = [name for name, kind in zip(schema.names, schema.types, strict=True) if _is_text(kind)]
            paths = [f"{name}.path" for name, kind in zip(schema.names, schema.types, strict=True) if _names_a_file(kind)]
            for group in table.iter_batches(columns=texts + paths):
                yield "\n".join(map(str, group.to_pylist()))
    except pyarrow.ArrowException:
        yield None


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind))


def _names_a_file(kind: Any) -> bool:
    """Sound as the Hub's clients keep it: bytes and the name of a file."""
    from pyarrow import types

    return bool(types.is_struct(kind)) and kind.get_field_index("path") >= 0


def _head(path: Path) -> str | None:
    with path.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < length <= min(_LONGEST_HEAD_BYTES, path.stat().st_size - 8):
            return None
        raw = stream.read(length)
    try:
        text = raw.decode()
        ends = [tensor["data_offsets"][1] for name, tensor in json.loads(text).items() if name != "__metadata__"]
    except (ValueError, TypeError, AttributeError, LookupError):
        return None
    return text if max(ends, default=0) == path.stat().st_size - 8 - length else None  # nothing is cut off


def _stands_in(word: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) is not None
