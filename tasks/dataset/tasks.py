"""The door of the dataset room."""

from pathlib import Path

from prefect import task
from prefect.variables import Variable

from infra.errors import HubUnreachable, WorkerLost
from infra.settings import settings
from infra.storage import content_hash
from tasks.artifacts import progress_shown, show_dataset
from tasks.caching import ByAddress
from tasks.contracts import DatasetVersion, News, StandingModel
from tasks.dataset.from_hub import fetch_dataset, newest_revision, source_address
from tasks.dataset.history import note_newest, parent_of
from tasks.dataset.home import memory_of
from tasks.dataset.ingest import IngestOptions, brought_hash, dataset_address, ingest
from tasks.dataset.news import Retraining, find_news
from tasks.dataset.sources import source_hash
from tasks.dataset.version import refused_and_warned
from tasks.events import dataset_updated, recordings_saved
from tasks.lineage import dataset_made
from tasks.retrying import HUB_WAITS_S, retried_after

_sources = ByAddress(kind="sources", address=source_address)
_datasets = ByAddress(
    kind="datasets",
    address=lambda content, name, options, parent=None, **_: dataset_address(content, name, options, parent),
)


_healing = retried_after(HubUnreachable, HUB_WAITS_S)


@task(name="resolve source", **_healing)
def resolve_source(repository: str, revision: str | None) -> str:
    """The commit that a Hub dataset is at."""
    return newest_revision(settings(), repository, revision)


@task(name="fetch source", cache_policy=_sources, result_serializer="json", **_healing)
def fetch_source(repository: str, commit: str) -> Path:
    """One revision of a Hub dataset as a folder that ingestion reads."""
    return fetch_dataset(settings(), repository, commit, _sources.folder(repository=repository, commit=commit))


@task(name="read source")
def read_source_content(source: Path) -> str:
    """Hash of everything in a source that ingestion reads."""
    return source_hash(source, memory_of(settings()).clips.file_hashes)


def find_parent(content: str, name: str, options: IngestOptions) -> DatasetVersion | None:
    """The newest version of that name, from which one made of this content descends."""
    return parent_of(settings(), name, brought_hash(content, options))


@task(
    name="ingest",
    cache_policy=_datasets,
    result_serializer="json",
    **retried_after(WorkerLost, (5, 5)),
)
def ingest_source(
    source: Path, content: str, name: str, options: IngestOptions, parent: DatasetVersion | None = None
) -> DatasetVersion:
    """Make the dataset version of a source; `content` is its hash, `parent` what `find_parent` found."""
    folder = _datasets.folder(content=content, name=name, options=options, parent=parent)
    with progress_shown():
        dataset = ingest(source, name, options, folder, settings().processes, memory_of(settings()), parent)
    show_dataset(dataset, *refused_and_warned(dataset))
    dataset_made(dataset, content)
    if not source.resolve().is_relative_to(settings().folder("sources")):  # what came from a Hub was told of as that
        recordings_saved(dataset.name, dataset.fingerprint)
    return dataset


def keep_as_newest(
    dataset: DatasetVersion, content: str, options: IngestOptions, parent: DatasetVersion | None
) -> DatasetVersion:
    """Note which version is the newest of its name, whether it was made now or long ago."""
    note_newest(settings(), dataset, brought_hash(content, options), parent)
    return dataset


@task(name="look for news")
def look_for_news(dataset: DatasetVersion, standing: StandingModel | None, retraining: Retraining) -> News:
    """What is new since the published model, and whether it is enough."""
    return find_news(settings(), dataset, standing, retraining)


@task(name="look", task_run_name="look at {repository}", **_healing)
def announce_change(repository: str) -> bool:
    """Emit an event if a Hub dataset has another revision than when it was last looked at; whether it has."""
    revision = newest_revision(settings(), repository)
    seen = f"voxfactory_seen_{content_hash(repository)[:16]}"
    if Variable.get(seen) == revision:
        return False
    new = dataset_updated(repository, revision)
    Variable.set(seen, revision, overwrite=True)
    return new
