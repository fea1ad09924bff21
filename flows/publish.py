"""A model that passed the gate in, its repository folder with card out."""

from prefect import flow

from flows.params import Publication
from tasks.contracts import EvaluationReport, StagedModel
from tasks.publishing.tasks import stage_model


@flow(name="publish", flow_run_name="{publication.name}")
def publish(report: EvaluationReport, publication: Publication) -> StagedModel:
    """Write the card and assemble the repository folder."""
    return stage_model(report, publication)
