"""How artefacts travel between machines: by a storage that all of them see.

An artefact is a folder of the home, named by its content: `datasets/<address>`. Without an exchange every machine must see the same home
(one machine, or a shared disk). With `VOXFACTORY_EXCHANGE`, an fsspec URL such as `s3://bucket/voxfactory`, what one machine puts there
another one gets, each into its own home. The mark of a folder is written last, so a folder without one is not there yet; a folder that
is there is never sent again, which its address makes right.
"""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from infra.errors import ExchangeError
from infra.settings import Settings
from infra.storage import new_folder, write_text

_MARK = ".complete"
_LOOKS = "checks"  # folder of the notes by which two machines find out whether they see the same


def reference(settings: Settings, folder: Path) -> str:
    """A folder of the home as every machine can name it: relative to the home.

    Raises:
        ExchangeError: it lies elsewhere.

    """
    home = settings.folder("")
    if not folder.resolve().is_relative_to(home):
        raise ExchangeError(f"{folder} does not lie in {home}", "Only what the factory made in its home travels: ingest it there")
    return folder.resolve().relative_to(home).as_posix()


def locate(settings: Settings, name: str | Path) -> Path:
    """The folder that a reference or a path means, fetched from the exchange if it is not here.

    Raises:
        ExchangeError: it is neither here nor there.

    """
    folder = Path(name).expanduser()
    if not folder.is_absolute():
        folder = settings.folder("") / folder
    if not folder.exists() and settings.exchange:
        get(settings, reference(settings, folder))
    return folder


def put(settings: Settings, folder: Path) -> None:
    """Send a folder of the home, if there is an exchange and it is not there yet.

    Raises:
        ExchangeError: the storage refuses.

    """
    if not settings.exchange:
        return
    storage, root = _storage(settings)
    there = f"{root}/{reference(settings, folder)}"
    with _told(f"sending {folder.name}"):
        if storage.exists(f"{there}/{_MARK}"):
            return
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            target = f"{there}/{path.relative_to(folder).as_posix()}"
            storage.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
            storage.put_file(str(path), target)
        storage.pipe_file(f"{there}/{_MARK}", b"")


def get(settings: Settings, name: str) -> Path:
    """Fetch a folder into the home by its reference.

    Raises:
        ExchangeError: it is not there, or the storage refuses.

    """
    storage, root = _storage(settings)
    folder, there = settings.folder("") / name, f"{root}/{name}"
    with _told(f"fetching {name}"):
        if not storage.exists(f"{there}/{_MARK}"):
            raise ExchangeError(f"{name} is neither in {settings.folder('')} nor on the exchange", "Make it, or correct its name")
        with new_folder(folder) as unfinished:
            for file in storage.find(there):
                inside = PurePosixPath(storage._strip_protocol(file)).relative_to(storage._strip_protocol(there))
                if inside.name != _MARK:
                    (unfinished / inside).parent.mkdir(parents=True, exist_ok=True)
                    storage.get_file(file, str(unfinished / inside))
    return folder


def leave_note(settings: Settings, value: Any, name: str | None = None) -> str:
    """Write JSON where every machine that shares our storage can read it; its name."""
    name, text = name or uuid.uuid4().hex, json.dumps(value)
    if not settings.exchange:
        write_text(settings.folder(_LOOKS) / name, text)
        return name
    storage, root = _storage(settings)
    with _told("writing a note"):
        storage.makedirs(f"{root}/{_LOOKS}", exist_ok=True)
        storage.pipe_file(f"{root}/{_LOOKS}/{name}", text.encode())
    return name


def read_note(settings: Settings, name: str) -> Any:
    """What a note says.

    Raises:
        ExchangeError: it cannot be seen from here: this machine and the one that wrote it do not share their storage.

    """
    if settings.exchange:
        storage, root = _storage(settings)
        with _told("reading a note"):
            if storage.exists(f"{root}/{_LOOKS}/{name}"):
                return json.loads(storage.cat_file(f"{root}/{_LOOKS}/{name}"))
        place = "the exchange"
    else:
        path = settings.folder(_LOOKS) / name
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))
        place = str(settings.folder(""))
    raise ExchangeError(
        f"This machine does not see in {place} what the run that started it left there",
        "Give both the same VOXFACTORY_HOME on a shared disk, or the same VOXFACTORY_EXCHANGE",
    )


def relocated(value: Any, theirs: str, ours: str) -> Any:
    """JSON of another machine with the paths into its home turned into paths into ours."""
    if isinstance(value, dict):
        return {key: relocated(one, theirs, ours) for key, one in value.items()}
    if isinstance(value, list):
        return [relocated(one, theirs, ours) for one in value]
    if isinstance(value, str) and (value == theirs or value.startswith(f"{theirs}/")):
        return ours + value[len(theirs) :]
    return value


def _storage(settings: Settings) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    try:
        storage, root = url_to_fs(settings.exchange)
    except (ValueError, ImportError) as error:
        raise ExchangeError(
            f"VOXFACTORY_EXCHANGE is no storage that fsspec knows: {error}", "Correct it or install its package"
        ) from error
    return storage, root.rstrip("/")


@contextmanager
def _told(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ExchangeError(f"The exchange fails ({doing}): {error}", "Check its address and the rights there") from error
