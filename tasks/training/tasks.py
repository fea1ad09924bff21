"""The door of the training room."""

from typing import Any

from prefect import task
from prefect.client.schemas.objects import State

from infra.errors import TrainingLost
from tasks.caching import ByAddress
from tasks.contracts import Checkpoint, DatasetVersion, TrainedModel
from tasks.training.launch import run_address, train
from tasks.training.options import TrainingOptions
from tasks.training.process import TrainingSpec

_runs = ByAddress(kind="runs", address=run_address)


async def worker_was_lost(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Retry a training process that was killed: it goes on from its last checkpoint."""
    return isinstance(await state.aresult(raise_on_failure=False), TrainingLost)


@task(
    name="train",
    cache_policy=_runs,
    result_serializer="json",
    retries=2,
    retry_delay_seconds=5,
    retry_condition_fn=worker_was_lost,
)
def train_model(
    base: Checkpoint, dataset: DatasetVersion, replay: list[DatasetVersion], options: TrainingOptions
) -> TrainedModel:
    """Fine-tune in a process of its own."""
    folder = _runs.folder(base=base, dataset=dataset, replay=replay, options=options)
    return train(TrainingSpec(folder=folder, base=base, dataset=dataset, replay=tuple(replay), options=options))
