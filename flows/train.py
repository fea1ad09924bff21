"""A dataset version in, a fine-tuned model out."""

from prefect import flow

from flows.dispatch import hand_over, look_for_errand
from flows.params import Training
from flows.references import Dataset
from tasks.contracts import TrainedModel
from tasks.training.tasks import train_model
from tasks.voxtral.tasks import resolve_checkpoint, resolve_named


@flow(name="train", flow_run_name="{dataset.name} on {training.base_model}")
def train(dataset: Dataset, training: Training, replay: list[Dataset]) -> TrainedModel:
    """Fine-tune the base model on a dataset, with the training side of `replay` mixed in."""
    look_for_errand()
    base = resolve_checkpoint(training.base_model, training.base_revision)
    start = resolve_named(training.warm_start) if training.warm_start else None
    return hand_over(train_model(base, dataset, replay, training.options, start))
