"""A model that passed the gate in, out on a Hub: proven to be what was measured before anybody sees it."""

from prefect import flow
from prefect.transactions import transaction

from flows.params import Publication
from flows.references import Evaluation
from tasks.contracts import PublishedModel, StagedModel
from tasks.publishing.consent import unmeasured_sets
from tasks.publishing.kept import kept
from tasks.publishing.tasks import (
    check_publication,
    find_published,
    find_published_data,
    promote_model,
    promote_shipped_base,
    stage_model,
    upload_model,
    upload_shipped_base,
    verify_model,
)


@flow(name="publish", flow_run_name="{publication.name}")
def publish(report: Evaluation, publication: Publication) -> tuple[PublishedModel, ...]:
    """Write the card, assemble the repository of each form, and publish them; the first is the one under the bare name."""
    with kept(report, publication):
        permitted = check_publication(publication, [report.dataset, *report.guards], unmeasured_sets(report))
        data = find_published_data(report.dataset)
        staged = [stage_model(report, permitted, form, data) for form in permitted.forms_of(report.model.method)]
        standing = [published for folder in staged if (published := find_published(folder))]
        return tuple(standing) if len(standing) == len(staged) else _publish_new(staged)


def _publish_new(staged: list[StagedModel]) -> tuple[PublishedModel, ...]:
    """All or nothing: nobody sees anything before everything is proven, and what fails after that is taken back."""
    with transaction():
        base = upload_shipped_base(staged)
        uploads = [upload_model(folder) for folder in staged]
        proofs = [verify_model(*each, base) for each in zip(uploads, staged, strict=True)]
        promote_shipped_base(base, staged)
        return tuple(promote_model(*each) for each in zip(uploads, staged, proofs, strict=True))
