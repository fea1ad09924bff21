"""Where stored features lie, how much room they may take, and which of them go when there is too little.

`cache/features/` holds a folder for each store, named after the hash of what its numbers depend on, with shards in it: safetensors
files, whose headers say which utterances they hold, so that no index can disagree with them. A shard is written beside its place and
renamed; what is cut short is never seen.

Whoever writes, removes or begins to use a shard holds one lock meanwhile, for less than a second. What a run uses stands in a file that
it keeps locked: a list whose lock is free belongs to a run that is gone. Shards in use are never removed.
"""

import fcntl
import json
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from infra.errors import TrainingError
from infra.settings import Settings
from infra.storage import exclusive, exclusive_if_free, readable, write_bytes, write_json

SHARD_SUFFIX = ".safetensors"
_LEFT_FREE_BYTES = 5_000_000_000  # checkpoints want room too
_GIGABYTE = 1_000_000_000
_LENGTH_BYTES = 8  # of a header's length, at the beginning of a safetensors file


class Shard(NamedTuple):
    """A file of features; `used_s` is when a run last took something from it, in seconds since 1970."""

    path: Path
    size_bytes: int
    used_s: float


class Store(NamedTuple):
    """What one store holds."""

    key: str
    label: str
    utterances: int
    size_bytes: int
    used_s: float
    in_use: bool


class Use:
    """What this run uses, told to those who remove; until the process ends or `end` is called."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / uuid4().hex
        self._list = self._path.open("a")
        fcntl.flock(self._list, fcntl.LOCK_EX)

    def add(self, shard: Path) -> None:
        """Use a shard, from now on; the disk must be locked."""
        self._list.write(f"{shard.parent.name}/{shard.name}\n")
        self._list.flush()
        shard.touch()

    def end(self) -> None:
        """Use nothing any more."""
        self._path.unlink(missing_ok=True)
        self._list.close()


class FeatureDisk:
    """All stores of a home."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder, self.limit_bytes = folder, limit_bytes

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else writes, removes or begins to use a shard while the block runs."""
        with exclusive(self.folder / ".lock"):
            yield

    def use(self) -> Use:
        """Begin to use shards."""
        with self.locked():
            return Use(self.folder / ".uses")

    @contextmanager
    def filling(self, store: str, part: str) -> Iterator[bool]:
        """Fill a part of a store alone while the block runs, or be told that somebody else does."""
        locks = self.folder / ".filling"
        locks.mkdir(parents=True, exist_ok=True)
        with exclusive_if_free(locks / f"{store}.{part}") as ours:
            yield ours

    def shards(self) -> list[Shard]:
        """Every shard, the least recently used first."""
        found = [(path, path.stat()) for path in self.folder.glob(f"[!.]*/[!.]*{SHARD_SUFFIX}")]
        return sorted((Shard(path, stat.st_size, stat.st_mtime) for path, stat in found), key=lambda shard: shard.used_s)

    def room_bytes(self) -> int:
        """How large a shard may be, if all that is not in use makes room for it."""
        with self.locked():
            shards, in_use = self.shards(), self._in_use()
            used = sum(shard.size_bytes for shard in shards if shard.path in in_use)
            unused = sum(shard.size_bytes for shard in shards) - used
            return min(self.limit_bytes - used, self._free_bytes() + unused)

    def write(self, store: str, about: dict[str, object], content: bytes, use: Use) -> Path | None:
        """Write a shard and use it; None where there is no room for it.

        Raises:
            HomeError: the disk is full nevertheless, or cannot be written.

        """
        folder = self.folder / store
        with self.locked():
            self._sweep()
            if not self._make_room(len(content)):
                return None
            folder.mkdir(exist_ok=True)
            if not (folder / "store.json").exists():
                write_json(folder / "store.json", about)
            path = write_bytes(folder / f"{uuid4().hex}{SHARD_SUFFIX}", content, durable=True)
            use.add(path)
        return path

    def stores(self) -> list[Store]:
        """What there is, the most recently used first."""
        if not self.folder.is_dir():
            return []
        with self.locked():
            in_use, by_store = self._in_use(), dict[Path, list[Shard]]()
            for shard in self.shards():
                by_store.setdefault(shard.path.parent, []).append(shard)
            found = [_described(folder, shards, in_use) for folder, shards in by_store.items()]
        return sorted(found, key=lambda store: store.used_s, reverse=True)

    def prune(self, unused_s: float | None = None) -> int:
        """Remove what was not used for so long, or as much as is over the limit; returns how many bytes.

        What a run uses stays.
        """
        if not self.folder.is_dir():
            return 0
        with self.locked():
            self._sweep()
            before = sum(shard.size_bytes for shard in self.shards())
            if unused_s is None:
                self._make_room(0)
            else:
                in_use, now_s = self._in_use(), time.time()
                for shard in self.shards():
                    if shard.path not in in_use and shard.used_s <= now_s - unused_s:
                        shard.path.unlink()
            for described in self.folder.glob("[!.]*/store.json"):
                if not any(described.parent.glob(f"*{SHARD_SUFFIX}")):
                    shutil.rmtree(described.parent)
            return before - sum(shard.size_bytes for shard in self.shards())

    def forget(self, names: Collection[str]) -> int:
        """Remove every shard that holds one of these utterances, in use or not; returns how many."""
        if not self.folder.is_dir():
            return 0
        with self.locked():
            holding = [shard.path for shard in self.shards() if not names_in(shard.path).isdisjoint(names)]
            for path in holding:
                path.unlink()
        return len(holding)

    def _free_bytes(self) -> int:
        return shutil.disk_usage(self.folder).free - _LEFT_FREE_BYTES

    def _make_room(self, needed_bytes: int) -> bool:
        """Remove the least recently used until so much fits; nothing, where that would not do."""
        shards, in_use = self.shards(), self._in_use()
        over = max(sum(shard.size_bytes for shard in shards) - self.limit_bytes, -self._free_bytes()) + needed_bytes
        unused = [shard for shard in shards if shard.path not in in_use]
        if needed_bytes and over > sum(shard.size_bytes for shard in unused):
            return False
        for shard in unused:
            if over <= 0:
                break
            shard.path.unlink()
            over -= shard.size_bytes
        return over <= 0

    def _in_use(self) -> set[Path]:
        """What living runs use; the lists of dead ones are removed."""
        used: set[Path] = set()
        for path in (self.folder / ".uses").glob("*"):
            with exclusive_if_free(path) as abandoned:
                if abandoned:
                    path.unlink()
                else:
                    used |= {self.folder / line for line in path.read_text().splitlines()}
        return used

    def _sweep(self) -> None:
        """Remove what a writer left that was killed: whoever writes holds the lock that we have."""
        for unfinished in self.folder.glob("[!.]*/.*"):
            unfinished.unlink()


def feature_disk(settings: Settings) -> FeatureDisk:
    """The stores of this home.

    Raises:
        HomeError: the home cannot be written.

    """
    return FeatureDisk(settings.folder("cache") / "features", int(settings.cache_gb * _GIGABYTE))


def names_in(shard: Path) -> set[str]:
    """Which utterances a shard holds, by their audio's hash; none where the file is torn, as a power cut may leave it."""
    with shard.open("rb") as stream:
        size, length = shard.stat().st_size, int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        if length > size:
            return set()
        try:
            header = json.loads(stream.read(length))
        except ValueError:
            return set()
    ends = [row["data_offsets"][1] for row in header.values()]
    return set(header) if _LENGTH_BYTES + length + max(ends, default=0) == size else set()


def _described(folder: Path, shards: list[Shard], in_use: set[Path]) -> Store:
    described = folder / "store.json"
    with readable(described, TrainingError):
        label = json.loads(described.read_text())["label"]
    return Store(
        key=folder.name,
        label=label,
        utterances=len(set().union(*(names_in(shard.path) for shard in shards))),
        size_bytes=sum(shard.size_bytes for shard in shards),
        used_s=max(shard.used_s for shard in shards),
        in_use=any(shard.path in in_use for shard in shards),
    )
