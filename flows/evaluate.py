"""Two models in, a report out: which of them hears better."""

from prefect import flow

from flows.dispatch import hand_over, look_for_errand
from flows.references import Dataset, Model
from tasks.contracts import Duel, EvaluationReport
from tasks.evaluation.tasks import compare_checkpoints, compare_models, hear_silence, transcribe
from tasks.voxtral.tasks import resolve_named


@flow(name="evaluate", flow_run_name="{dataset.name}")
def evaluate(
    model: Model, dataset: Dataset, guards: list[Dataset], batch_size: int = 32, rival: str | None = None
) -> EvaluationReport:
    """Transcribe the same held-out utterances with the model and its base, or a rival instead of that, and compare."""
    look_for_errand()
    before = resolve_named(rival) if rival else model.base
    heard = [
        (
            transcribe(before, version, batch_size, "before"),
            transcribe(model.checkpoint, version, batch_size, "fine-tuned"),
        )
        for version in (dataset, *guards)
    ]
    silence = (
        hear_silence(before, dataset.languages[0], batch_size),
        hear_silence(model.checkpoint, dataset.languages[0], batch_size),
    )
    return hand_over(compare_models(model, dataset, guards, heard, silence, rival))


@flow(name="compare", flow_run_name="{first} and {second} on {dataset.name}")
def compare(first: str, second: str, dataset: Dataset, batch_size: int = 32) -> Duel:
    """Transcribe the same held-out utterances with any two models, each a Hub id, id@revision or folder, and compare."""
    one, other = resolve_named(first), resolve_named(second)
    heard = (transcribe(one, dataset, batch_size, "first"), transcribe(other, dataset, batch_size, "second"))
    return compare_checkpoints(one, other, dataset, heard)
