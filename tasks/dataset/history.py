"""The versions of a home, and which is the newest of each name.

A version's parent is the newest one of its name when it was made. What is brought again unchanged is that newest version itself, so the
same command gives the same folder; what differs becomes its child. The note of who is newest is written last: a kill before it costs a
look at the clips, which are known.
"""

import json
from pathlib import Path

from infra.errors import DatasetError
from infra.settings import Settings
from infra.storage import content_hash, readable, write_json
from tasks.contracts import Contract, DatasetVersion
from tasks.dataset.version import open_version

_SHORTEST_PREFIX = 4  # of a fingerprint, to name a version by


class Newest(Contract):
    """The newest version of a name: its folder's name, the hash of what was brought for it, and its parent's folder's name."""

    name: str
    address: str
    brought: str
    parent: str | None


def all_versions(settings: Settings) -> list[DatasetVersion]:
    """Every version of the home, by name; of one name, parents before children where they are known."""
    found = [open_version(path.parent) for path in sorted(settings.folder("datasets").glob("[!.]*/dataset.json"))]
    depth: dict[str, int] = {}
    for _ in found:  # a chain is no longer than there are versions
        for version in found:
            depth[version.fingerprint] = max(depth.get(version.fingerprint, 0), _below(version, depth, len(found)))
    return sorted(found, key=lambda version: (version.name, depth[version.fingerprint], version.folder.name))


def _below(version: DatasetVersion, depth: dict[str, int], deepest: int) -> int:
    if version.parent is None or version.parent == version.fingerprint:
        return 0
    return min(depth.get(version.parent, -1) + 1, deepest)


def parent_of(settings: Settings, name: str, brought: str) -> DatasetVersion | None:
    """The version that one made of what is `brought` descends from; for the newest one itself, its own parent."""
    newest = newest_of(settings, name)
    if newest is None:
        return None
    address = newest.parent if newest.brought == brought else newest.address
    folder = settings.folder("datasets") / str(address)
    return open_version(folder) if address and (folder / "dataset.json").is_file() else None


def newest_of(settings: Settings, name: str) -> Newest | None:
    """The note of the newest version of a name, if there is one and its folder is there."""
    path = _note(settings, name)
    if not path.is_file():
        return None
    with readable(path, DatasetError):
        newest = Newest.model_validate(json.loads(path.read_text(encoding="utf-8")))
    return newest if (settings.folder("datasets") / newest.address / "dataset.json").is_file() else None


def note_newest(settings: Settings, version: DatasetVersion, brought: str, parent: DatasetVersion | None) -> None:
    """Write down that a version of the home is the newest of its name."""
    newest = Newest(
        name=version.name, address=version.folder.name, brought=brought, parent=parent.folder.name if parent else None
    )
    write_newest(settings, newest)


def write_newest(settings: Settings, newest: Newest) -> None:
    """Write the note of a name's newest version."""
    path = _note(settings, newest.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, newest.model_dump())


def forget_newest(settings: Settings, name: str) -> None:
    """Of this name nothing is left."""
    _note(settings, name).unlink(missing_ok=True)


def newest_addresses(settings: Settings) -> set[str]:
    """Folder names of the newest version of each name."""
    notes = (json.loads(path.read_text(encoding="utf-8")) for path in _notes(settings).glob("*.json"))
    return {Newest.model_validate(note).address for note in notes}


def find_version(settings: Settings, named: str) -> DatasetVersion:
    """A version by its folder, its name (the newest one), its address in the home, or the first characters of its fingerprint.

    Raises:
        DatasetError: there is none, or more than one.

    """
    for folder in (Path(named), settings.folder("datasets") / named, settings.folder("") / named):
        if (folder / "dataset.json").is_file():
            return open_version(folder.resolve())
    newest = newest_of(settings, named)
    if newest:
        return open_version(settings.folder("datasets") / newest.address)
    versions = all_versions(settings)
    starting = [one for one in versions if len(named) >= _SHORTEST_PREFIX and one.fingerprint.startswith(named)]
    found = [one for one in versions if one.name == named] or starting
    if not found:
        raise DatasetError(
            f"There is no dataset {named!r}", "Name a folder, a name or a fingerprint: see `voxfactory dataset list`"
        )
    if len({one.content_address for one in found}) > 1:
        folders = ", ".join(one.folder.name for one in found)
        raise DatasetError(f"{named!r} may be any of {folders}", "Name one of these folders")
    return found[-1]


def _notes(settings: Settings) -> Path:
    return settings.folder("datasets") / ".newest"


def _note(settings: Settings, name: str) -> Path:
    return _notes(settings) / f"{content_hash(name)[:16]}.json"
