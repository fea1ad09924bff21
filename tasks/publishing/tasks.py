"""The door of the publishing room."""

from prefect import task

from tasks.caching import ByAddress
from tasks.contracts import EvaluationReport, StagedModel
from tasks.publishing.stage import Publication, stage, stage_address

_published = ByAddress(kind="published", address=stage_address)


@task(name="stage", cache_policy=_published, result_serializer="json")
def stage_model(report: EvaluationReport, publication: Publication) -> StagedModel:
    """Assemble the repository folder with its card."""
    return stage(report, publication, _published.folder(report=report, publication=publication))
