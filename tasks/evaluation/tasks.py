"""The door of the evaluation room."""

from pathlib import Path

from prefect import task

from infra.storage import content_hash
from tasks.artifacts import progress_shown, show_decision, show_report
from tasks.caching import ByAddress
from tasks.contracts import Checkpoint, DatasetVersion, Duel, EvaluationReport, GateDecision, TrainedModel
from tasks.evaluation.compare import COMPARE_VERSION, HeardSet, compare, compare_two
from tasks.evaluation.gate import GateRules, decide, settled
from tasks.evaluation.readings import Readings, compare_readings, readings_address
from tasks.evaluation.transcribe import silence_address, transcribe_dataset, transcribe_silence, transcription_address
from tasks.events import model_passed, model_rejected

_transcripts = ByAddress(
    kind="transcripts",
    address=lambda checkpoint, dataset, batch_size, **_: transcription_address(checkpoint, dataset, batch_size),
)
_SEED = 0


def _report_address(
    model: TrainedModel,
    dataset: DatasetVersion,
    guards: list[DatasetVersion],
    heard: list[tuple[Path, Path]],
    silence: tuple[Path, Path],
    rival: str | None = None,
) -> str:
    """The report carries the descriptions of its sets (licence, consent, counts): they count too, wherever they lie."""
    sets = [version.model_dump(mode="json", exclude={"folder"}) for version in (dataset, *guards)]
    transcripts = [[path.parent.name for path in pair] for pair in (*heard, silence)]
    return content_hash(COMPARE_VERSION, model.weights_hash, model.base.revision, sets, transcripts, rival)[:16]


_evaluations = ByAddress(kind="evaluations", address=_report_address)


@task(name="transcribe", task_run_name="transcribe {dataset.name} ({label})", cache_policy=_transcripts, result_serializer="json")
def transcribe(checkpoint: Checkpoint, dataset: DatasetVersion, batch_size: int, label: str) -> Path:
    """What a checkpoint hears in the held-out utterances of a dataset."""
    folder = _transcripts.folder(checkpoint=checkpoint, dataset=dataset, batch_size=batch_size)
    with progress_shown():
        return transcribe_dataset(checkpoint, dataset, folder, batch_size, f"{dataset.name} ({label})")


_silences = ByAddress(kind="transcripts", address=silence_address)


@task(
    name="transcribe silence",
    task_run_name="transcribe silence ({checkpoint.label})",
    cache_policy=_silences,
    result_serializer="json",
)
def hear_silence(checkpoint: Checkpoint, language: str, batch_size: int) -> Path:
    """What a checkpoint writes where nobody speaks."""
    folder = _silences.folder(checkpoint=checkpoint, language=language, batch_size=batch_size)
    with progress_shown():
        return transcribe_silence(checkpoint, language, folder, batch_size)


@task(name="compare", cache_policy=_evaluations, result_serializer="json")
def compare_models(
    model: TrainedModel,
    dataset: DatasetVersion,
    guards: list[DatasetVersion],
    heard: list[tuple[Path, Path]],
    silence: tuple[Path, Path],
    rival: str | None = None,
) -> EvaluationReport:
    """Score tuned against its base, or a rival.

    `heard` holds the hypotheses of both for the target, then for each guard set; `silence` those about clips in which nobody speaks.
    """
    folder = _evaluations.folder(model=model, dataset=dataset, guards=guards, heard=heard, silence=silence, rival=rival)
    folder.mkdir(parents=True, exist_ok=True)
    target, *others = [HeardSet(version, *paths) for version, paths in zip((dataset, *guards), heard, strict=True)]
    report = compare(model, target, others, folder, _SEED, rival, silence)
    show_report(report)
    return report


def _duel_address(first: Checkpoint, second: Checkpoint, dataset: DatasetVersion, heard: tuple[Path, Path]) -> str:
    names = [first.label, second.label]
    return content_hash(
        COMPARE_VERSION, names, dataset.model_dump(mode="json", exclude={"folder"}), [p.parent.name for p in heard]
    )[:16]


_duels = ByAddress(kind="evaluations", address=_duel_address)


@task(name="compare two", cache_policy=_duels, result_serializer="json")
def compare_checkpoints(first: Checkpoint, second: Checkpoint, dataset: DatasetVersion, heard: tuple[Path, Path]) -> Duel:
    """Score any two models; `heard` holds the hypotheses of both."""
    folder = _duels.folder(first=first, second=second, dataset=dataset, heard=heard)
    folder.mkdir(parents=True, exist_ok=True)
    return compare_two(first.label, second.label, HeardSet(dataset, *heard), folder, _SEED)


@task(name="gate")
def decide_publication(report: EvaluationReport, rules: GateRules, duel: EvaluationReport | None = None) -> GateDecision:
    """Publish or not; with a duel against a rival, that must be won, too."""
    return _told(report, decide(report, rules, duel))


@task(name="approval")
def settle_publication(
    report: EvaluationReport, decision: GateDecision, answer: tuple[bool, str] | None, timeout_h: float
) -> GateDecision:
    """The decision after a person was asked: their yes or no and their words, or None where nobody answered in time."""
    return _told(report, settled(decision, answer, timeout_h))


def _told(report: EvaluationReport, decision: GateDecision) -> GateDecision:
    show_decision(decision)
    tell = model_passed if decision.publish else model_rejected
    tell(report.dataset.name, decision.reasons, {"evaluation": report.folder.name})
    return decision


_readings = ByAddress(kind="readings", address=readings_address)


@task(name="listen", task_run_name="listen to {dataset.name}", cache_policy=_readings, result_serializer="json")
def listen_to(checkpoint: Checkpoint, dataset: DatasetVersion, at_least: float, batch_size: int) -> Readings:
    """Find the utterances whose transcripts a model does not hear."""
    folder = _readings.folder(checkpoint=checkpoint, dataset=dataset, at_least=at_least, batch_size=batch_size)
    transcripts = _transcripts.folder(checkpoint=checkpoint, dataset=dataset, batch_size=batch_size)
    with progress_shown():
        everything = transcripts.with_name(f"{transcripts.name}-all")
        return compare_readings(checkpoint, dataset, folder, everything, at_least, batch_size)
