"""Speech in, a dataset version out."""

from prefect import flow

from flows.params import Source
from tasks.contracts import DatasetVersion
from tasks.dataset.tasks import ingest_source, read_source_content


@flow(name="ingest", flow_run_name="{source.name}")
def ingest(source: Source) -> DatasetVersion:
    """Check, convert, divide and version the utterances of a source."""
    content = read_source_content(source.path)
    return ingest_source(source.path, content, source.name, source.options)
