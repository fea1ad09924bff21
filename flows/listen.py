"""A dataset and a model in, the utterances out whose transcripts it does not hear."""

from prefect import flow

from flows.references import Dataset
from tasks.evaluation.readings import Readings
from tasks.evaluation.tasks import listen_to
from tasks.voxtral.tasks import resolve_named


@flow(name="listen", flow_run_name="{dataset.name} with {model}")
def listen(dataset: Dataset, model: str, at_least: float = 0.5, batch_size: int = 32) -> Readings:
    """Let a model (Hub id, id@revision, or folder) transcribe all utterances, and find those that differ from their transcripts."""
    return listen_to(resolve_named(model), dataset, at_least, batch_size)
