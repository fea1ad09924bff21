"""What was published where, beside the folder that was: so that publishing the same again asks the Hub and does nothing else."""

import json
from pathlib import Path
from typing import TypeVar

from infra.errors import PublishingError
from infra.hub import HubConnection
from infra.storage import readable, write_json
from tasks.contracts import DatasetVersion, HubRevision, PublishedDataset, PublishedModel, StagedDataset, StagedModel
from tasks.publishing.upload import is_published

_RECORD = "published.json"
Published = TypeVar("Published", PublishedModel, PublishedDataset)


def write_record(published: PublishedModel | PublishedDataset) -> None:
    """Remember a publication."""
    write_json(_path(published.staged), published)


def still_published(hub: HubConnection, staged: StagedModel | StagedDataset, kind: type[Published]) -> Published | None:
    """An earlier publication of this very folder, if it is on main of this Hub still, under its tag."""
    path = _path(staged)
    if not path.is_file():
        return None
    with readable(path, PublishingError):
        before = kind.model_validate_json(path.read_text(encoding="utf-8"))
    if before.staged != staged or before.place.hub != hub.name or not is_published(hub, before.place, staged.folder):
        return None
    return before.model_copy(update={"place": before.place.model_copy(update={"new": False})})


def published_data(hub: HubConnection, dataset: DatasetVersion, published: Path) -> HubRevision | None:
    """Where equal data stand on this Hub by one of the records in `published`; the newest of several.

    Raises:
        HubUnreachable: the Hub does not answer now.

    """
    for path in sorted(published.glob(f"[!.]*/{_RECORD}"), key=lambda path: path.stat().st_mtime, reverse=True):
        with readable(path, PublishingError):
            record = json.loads(path.read_text(encoding="utf-8"))
        if record["staged"].get("dataset", {}).get("fingerprint") != dataset.fingerprint:
            continue
        known = PublishedDataset.model_validate(record)
        if known.place.hub == hub.name and is_published(hub, known.place, known.staged.folder):
            return known.place
    return None


def _path(staged: StagedModel | StagedDataset) -> Path:
    return staged.folder.parent / _RECORD
