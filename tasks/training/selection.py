"""Which evaluation of a training is the best, and when it is no use to go on.

Both are read from the training's history, which every checkpoint holds: a resumed run decides as an undisturbed one.
"""

import math
from collections.abc import Sequence
from typing import Any

from tasks.training.options import TrainingOptions

Evaluation = dict[str, Any]  # an entry of the Trainer's history: step, eval_loss, and eval_wer where WER decides


def evaluations(history: Sequence[Evaluation]) -> list[Evaluation]:
    """Those in a history, in order."""
    return [entry for entry in history if "eval_loss" in entry]


def best_evaluation(history: Sequence[Evaluation], options: TrainingOptions) -> Evaluation | None:
    """The lowest by `options.best_by`, among equals the one with the lowest loss, among equals the first."""
    return min(evaluations(history), key=lambda entry: (_figure(entry, options.best_by), _figure(entry, "loss")), default=None)


def out_of_patience(history: Sequence[Evaluation], options: TrainingOptions) -> bool:
    """Whether the last `options.patience` evaluations were not better than the best before."""
    best = best_evaluation(history, options)
    if options.patience is None or best is None:
        return False
    return sum(entry["step"] > best["step"] for entry in evaluations(history)) >= options.patience


def _figure(entry: Evaluation, name: str) -> float:
    value = float(entry[f"eval_{name}"])
    return math.inf if math.isnan(value) else value
