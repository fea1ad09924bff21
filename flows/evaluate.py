"""A fine-tuned model and its base in, a report out: which of them hears better."""

from prefect import flow

from tasks.contracts import DatasetVersion, EvaluationReport, TrainedModel
from tasks.evaluation.tasks import compare_models, transcribe


@flow(name="evaluate", flow_run_name="{dataset.name}")
def evaluate(
    model: TrainedModel, dataset: DatasetVersion, guards: list[DatasetVersion], batch_size: int = 32
) -> EvaluationReport:
    """Transcribe the same held-out utterances with both models, and compare."""
    heard = [
        (
            transcribe(model.base, version, batch_size, "base"),
            transcribe(model.checkpoint, version, batch_size, "fine-tuned"),
        )
        for version in (dataset, *guards)
    ]
    return compare_models(model, dataset, guards, heard)
