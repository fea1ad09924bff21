"""A dataset version in, a fine-tuned model out."""

from prefect import flow

from flows.params import Training
from tasks.contracts import DatasetVersion, TrainedModel
from tasks.training.tasks import train_model
from tasks.voxtral.tasks import resolve_checkpoint


@flow(name="train", flow_run_name="{dataset.name} on {training.base_model}")
def train(dataset: DatasetVersion, training: Training, replay: list[DatasetVersion]) -> TrainedModel:
    """Fine-tune the base model on a dataset, with the training side of `replay` mixed in."""
    base = resolve_checkpoint(training.base_model, training.base_revision)
    return train_model(base, dataset, replay, training.options)
