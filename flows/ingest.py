"""Speech in, a dataset version out."""

from prefect import flow

from flows.params import Source
from tasks.contracts import DatasetVersion
from tasks.dataset.tasks import fetch_source, find_parent, ingest_source, keep_as_newest, read_source_content, resolve_source


@flow(name="ingest", flow_run_name="{source.name}")
def ingest(source: Source) -> DatasetVersion:
    """Check, convert, divide and version the utterances of a source."""
    path = source.path or fetch_source(source.repository, resolve_source(source.repository, source.revision))
    content = read_source_content(path)
    parent = find_parent(content, source.name, source.options)
    dataset = ingest_source(path, content, source.name, source.options, parent)
    return keep_as_newest(dataset, content, source.options, parent)
