"""The door of the dataset room."""

from pathlib import Path

from prefect import task

from infra.settings import settings
from tasks.caching import ByAddress
from tasks.contracts import DatasetVersion
from tasks.dataset.ingest import IngestOptions, dataset_address, ingest
from tasks.dataset.sources import source_hash

_datasets = ByAddress(kind="datasets", address=lambda content, name, options, **_: dataset_address(content, name, options))


@task(name="read source")
def read_source_content(source: Path) -> str:
    """Hash of everything in a source that ingestion reads."""
    return source_hash(source)


@task(name="ingest", cache_policy=_datasets, result_serializer="json")
def ingest_source(source: Path, content: str, name: str, options: IngestOptions) -> DatasetVersion:
    """Make the dataset version of a source; `content` is its hash."""
    folder = _datasets.folder(content=content, name=name, options=options)
    return ingest(source, name, options, folder, settings().processes)
