"""A dataset version in, out on a Hub: proven to be what was ingested before anybody sees it."""

from prefect import flow
from prefect.transactions import transaction

from flows.params import DatasetPublication
from flows.references import Dataset
from tasks.contracts import PublishedDataset, StagedDataset
from tasks.publishing.kept import kept
from tasks.publishing.tasks import (
    check_dataset,
    check_publication,
    find_published_dataset,
    promote_dataset,
    stage_dataset,
    upload_dataset,
)


@flow(name="publish-dataset", flow_run_name="{publication.name}")
def publish_dataset(dataset: Dataset, publication: DatasetPublication) -> PublishedDataset:
    """Export it in the form that the Hub's clients load, and publish it all or not at all."""
    with kept(dataset, publication):
        permitted = check_publication(publication, [dataset])
        staged = stage_dataset(dataset, permitted)
        return find_published_dataset(staged) or _publish_new(staged)


def _publish_new(staged: StagedDataset) -> PublishedDataset:
    """Nobody sees anything before it is proven, and what fails after that is taken back."""
    with transaction():
        uploaded = upload_dataset(staged)
        check_dataset(uploaded, staged)
        return promote_dataset(uploaded, staged)
