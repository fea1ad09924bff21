"""Evaluation reports for tests: invented ones, and real ones of real runs of a few steps."""

from pathlib import Path

import pytest

from infra.settings import settings
from tasks.contracts import Checkpoint, DatasetVersion, Errors, EvaluationReport, Interval, Method, Score, TrainedModel
from tasks.evaluation.compare import HeardSet, compare
from tasks.evaluation.transcribe import transcribe_dataset
from tasks.training.launch import train
from tasks.training.options import TrainingOptions
from tasks.training.process import TrainingSpec

_HEARD_AFTER_FOUR_STEPS = {Method.FULL: 5e-4, Method.LORA: 1e-2}


def around(value: float, width: float = 0.03) -> Interval:
    """An interval of that half width."""
    return Interval(value=value, low=value - width, high=value + width)


def score(
    set_name: str,
    base: float,
    tuned: float,
    language: str = "all",
    width: float = 0.03,
    utterances: int = 100,
    endless: int = 0,
    loops: int = 0,
) -> Score:
    """A score with those two error rates, and of tuned so many outputs that do not end or run in circles."""
    return Score(
        set_name=set_name,
        language=language,
        utterances=utterances,
        words=4 * utterances,
        drawn="utterances",
        wer_base=around(base),
        wer_tuned=around(tuned),
        wer_change=around(tuned - base, width),
        cer_base=base / 2,
        cer_tuned=tuned / 2,
        p_better=float(tuned < base),
        errors_base=Errors(substitutions=round(400 * base), deletions=0, insertions=0, endless=0),
        errors_tuned=Errors(substitutions=round(400 * tuned), deletions=0, insertions=0, endless=endless, loops=loops),
    )


def report(
    *scores: Score, model: TrainedModel | None = None, dataset: DatasetVersion | None = None, folder: Path = Path()
) -> EvaluationReport:
    """A report whose target is the first score's set."""
    base = Checkpoint(name="voxfactory-tiny", folder=Path("base"), revision="0" * 40)
    made = TrainedModel(
        folder=Path("run"),
        base=base,
        method=Method.FULL,
        dataset_fingerprint="f" * 64,
        weights_hash="a" * 64,
        steps=1,
        train_loss=1.0,
        train_seconds=1.0,
    )
    trained_on = DatasetVersion(
        folder=Path("data"),
        name=scores[0].set_name,
        fingerprint="f" * 64,
        train_utterances=80,
        eval_utterances=20,
        set_aside_utterances=0,
        rejected=0,
        hours=0.1,
        speakers=4,
        languages=("de",),
        split_rule="speakers",
        seed=0,
        division="d" * 64,
    )
    return EvaluationReport(
        folder=folder, model=model or made, dataset=dataset or trained_on, guards=(), scores=scores, examples=()
    )


def real_report(home: Path, method: Method, base: Checkpoint, dataset: DatasetVersion) -> EvaluationReport:
    """Train four steps, transcribe with base and tuned model, compare."""
    rate = _HEARD_AFTER_FOUR_STEPS[method]
    options = TrainingOptions(method=method, epochs=1, batch_size=4, learning_rate=rate, max_steps=4, lora_dropout=0.05)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOXFACTORY_HOME", str(home))
        settings.cache_clear()
        model = train(TrainingSpec(folder=home / "runs" / "run", base=base, dataset=dataset, options=options))
    settings.cache_clear()
    heard = [
        transcribe_dataset(checkpoint, dataset, home / checkpoint.revision[:8], 8, "x") for checkpoint in (base, model.checkpoint)
    ]
    (home / "evaluation").mkdir()
    return compare(model, HeardSet(dataset, *heard), [], home / "evaluation", seed=0)
