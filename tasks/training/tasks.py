"""The door of the training room."""

from prefect import task

from infra.errors import TrainingLost
from tasks.artifacts import progress_shown, show_training
from tasks.caching import ByAddress
from tasks.contracts import Checkpoint, DatasetVersion, TrainedModel
from tasks.lineage import model_trained
from tasks.retrying import retried_after
from tasks.training.launch import run_address, train
from tasks.training.options import TrainingOptions
from tasks.training.process import TrainingSpec

_runs = ByAddress(kind="runs", address=run_address)


@task(
    name="train",
    cache_policy=_runs,
    result_serializer="json",
    **retried_after(TrainingLost, (5, 5)),  # it goes on from its last checkpoint
)
def train_model(
    base: Checkpoint,
    dataset: DatasetVersion,
    replay: list[DatasetVersion],
    options: TrainingOptions,
    start: Checkpoint | None = None,
) -> TrainedModel:
    """Fine-tune in a process of its own."""
    folder = _runs.folder(base=base, dataset=dataset, replay=replay, options=options, start=start)
    spec = TrainingSpec(folder=folder, base=base, dataset=dataset, replay=tuple(replay), options=options, start=start)
    with progress_shown():
        model = train(spec)
    show_training(model)
    model_trained(model, [dataset, *replay], start)
    return model
