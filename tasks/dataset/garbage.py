"""What of a home no dataset version uses: clips of the store, and old versions if somebody says so."""

import os
import shutil
from pathlib import Path

from infra.settings import Settings
from tasks.contracts import Contract, DatasetVersion
from tasks.dataset.clips import CLIPS_FOLDER, ClipStore
from tasks.dataset.history import all_versions, newest_addresses
from tasks.dataset.version import read_utterances


class Garbage(Contract):
    """What can go, or went: versions by folder, clips by number, and how many bytes of the disk that frees."""

    versions: tuple[Path, ...]
    clips: int
    freed_bytes: int


def collect_garbage(settings: Settings, old_versions: bool = False, dry_run: bool = False) -> Garbage:
    """Remove clips that no version holds and what killed runs left of them; with `old_versions` all versions but the newest of each name.

    What is known of refused inputs goes, too: they are looked at again when they are brought again.
    """
    store = ClipStore(settings.folder(CLIPS_FOLDER))
    with store.alone():
        return _collect(settings, store, old_versions, dry_run)


def _collect(settings: Settings, store: ClipStore, old_versions: bool, dry_run: bool) -> Garbage:
    versions, newest = all_versions(settings), newest_addresses(settings)
    old = [one for one in versions if old_versions and one.folder.name not in newest and _has_a_newer(one, versions, newest)]
    used = {one.audio_hash for version in versions if version not in old for one in read_utterances(version)}
    unused = store.audio_hashes() - used
    files = [*(store.clip(audio) for audio in unused), *store.strays(), *(path for one in old for path in _files(one.folder))]
    freed = _freed(files)
    if not dry_run:
        for version in old:
            shutil.rmtree(version.folder)
        store.forget(unused)
        store.forget_refusals()
        for stray in store.strays():
            stray.unlink(missing_ok=True)
    return Garbage(versions=tuple(one.folder for one in old), clips=len(unused), freed_bytes=freed)


def _has_a_newer(version: DatasetVersion, versions: list[DatasetVersion], newest: set[str]) -> bool:
    """A version whose name has no newest one is not old: nobody knows what came after it."""
    return any(one.name == version.name and one.folder.name in newest for one in versions)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _freed(files: list[Path]) -> int:
    """Bytes of files all of whose names go."""
    names: dict[tuple[int, int], int] = {}
    sizes: dict[tuple[int, int], os.stat_result] = {}
    for path in files:
        if path.exists():
            found = path.stat()
            inode = (found.st_dev, found.st_ino)
            names[inode] = names.get(inode, 0) + 1
            sizes[inode] = found
    return sum(found.st_size for inode, found in sizes.items() if names[inode] >= found.st_nlink)
