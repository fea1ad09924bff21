"""The training plan: which utterance is seen at which position, written down before training begins.

It is a function of the utterances, the options and the window alone. Resuming is a cursor into it, so that an interrupted run sees
exactly the rows that it has not seen. The price is one JSON line a row.
"""

import random
from collections.abc import Sequence
from pathlib import Path

from infra.errors import TrainingError
from infra.storage import write_text
from tasks.contracts import Contract, Utterance
from tasks.training.options import TrainingOptions


class PlanRow(Contract):
    """One position of the plan: an utterance and the language that its prompt names."""

    epoch: int
    utterance: str
    language: str | None


class Skipped(Contract):
    """An utterance that cannot be trained on, and why."""

    utterance: str
    reason: str


class Plan(Contract):
    """Everything that training will see, in order."""

    rows: tuple[PlanRow, ...]
    validation: tuple[PlanRow, ...]
    skipped: tuple[Skipped, ...]

    @property
    def epochs(self) -> int:
        """Number of passes."""
        return self.rows[-1].epoch + 1


def make_plan(utterances: Sequence[Utterance], options: TrainingOptions, window_s: float) -> Plan:
    """Order the training utterances of every epoch and hold some back for validation.

    Raises:
        TrainingError: no utterance fits into the model's window.

    """
    fitting, skipped = [], []
    for utterance in sorted(utterances, key=lambda u: u.id):
        if utterance.duration_s <= window_s:
            fitting.append(utterance)
        else:
            reason = f"lasts {utterance.duration_s:.1f} s; the model's window holds {window_s:g} s"
            skipped.append(Skipped(utterance=utterance.id, reason=reason))
    if not fitting:
        raise TrainingError(
            f"None of {len(utterances)} training utterances fits into the model's window of {window_s:g} s",
            "Cut the recordings at pauses, or add shorter ones",
        )
    draw = random.Random(options.seed)
    draw.shuffle(fitting)
    held_back = max(1, round(options.validation_share * len(fitting)))
    validation = fitting[:held_back]
    training = fitting[held_back:] or fitting  # one utterance alone validates itself
    rows = []
    for epoch in range(options.epochs):
        draw.shuffle(training)
        for utterance in training:
            language = None if draw.random() < options.without_language else utterance.language
            rows.append(PlanRow(epoch=epoch, utterance=utterance.id, language=language))
    checked = [PlanRow(epoch=0, utterance=u.id, language=u.language) for u in validation]
    return Plan(rows=tuple(rows), validation=tuple(checked), skipped=tuple(skipped))


def write_plan(plan: Plan, folder: Path) -> None:
    """Write plan.jsonl, validation.jsonl and skipped.jsonl."""
    for name, values in (("plan", plan.rows), ("validation", plan.validation), ("skipped", plan.skipped)):
        write_text(folder / f"{name}.jsonl", "".join(value.model_dump_json() + "\n" for value in values))
