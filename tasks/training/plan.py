"""The training plan: which utterance is seen at which position, written down before training begins.

It is a function of the utterances, the options and the window alone. Resuming is a cursor into it, so that an interrupted run sees
exactly the rows that it has not seen. The price is one JSON line a row.
"""

import math
import random
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

from infra.errors import TrainingError
from infra.storage import write_text
from tasks.contracts import Contract, Utterance
from tasks.speech.transcript import normalised_prompt
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


def make_plan(
    utterances: Sequence[Utterance],
    options: TrainingOptions,
    window_s: float,
    replay: Sequence[Utterance] = (),
    held_out: Sequence[Utterance] = (),
) -> Plan:
    """Order the rows of every epoch, mix in replayed ones, and hold some utterances back for validation.

    Every epoch holds every utterance that is not held back once, and `options.replay_share` times as many replayed ones, dealt in
    turn so that all of them are used before one comes again. A replayed utterance that shares recording, prompt or speaker with
    `held_out` is skipped.

    Raises:
        TrainingError: no utterance fits into the model's window.

    """
    fitting, skipped = _fitting(utterances, window_s)
    if not fitting:
        raise TrainingError(
            f"None of {len(utterances)} training utterances fits into the model's window of {window_s:g} s",
            "Cut the recordings at pauses, or add shorter ones",
        )
    replayable, also_skipped = _fitting(replay, window_s)
    replayable, leaking = _without_leaks(replayable, held_out)
    draw = random.Random(options.seed)
    draw.shuffle(fitting)
    draw.shuffle(replayable)
    held_back = max(1, round(options.validation_share * len(fitting)))
    validation, training = fitting[:held_back], fitting[held_back:] or fitting  # one utterance alone validates itself
    replayed_an_epoch = round(options.replay_share * len(training)) if replayable else 0
    turn = cycle(replayable)
    rows = []
    for epoch in range(options.epochs):
        seen = [*training, *islice(turn, replayed_an_epoch)]
        draw.shuffle(seen)
        for utterance in seen:
            language = None if draw.random() < options.without_language else utterance.language
            rows.append(PlanRow(epoch=epoch, utterance=utterance.id, language=language))
    checked = [PlanRow(epoch=0, utterance=u.id, language=u.language) for u in validation]
    return Plan(rows=tuple(rows), validation=tuple(checked), skipped=tuple(skipped + also_skipped + leaking))


def _fitting(utterances: Sequence[Utterance], window_s: float) -> tuple[list[Utterance], list[Skipped]]:
    ordered = sorted(utterances, key=lambda utterance: utterance.id)
    skipped = [
        Skipped(utterance=u.id, reason=f"lasts {u.duration_s:.1f} s; the model's window holds {window_s:g} s")
        for u in ordered
        if u.duration_s > window_s
    ]
    return [utterance for utterance in ordered if utterance.duration_s <= window_s], skipped


def _without_leaks(replay: Sequence[Utterance], held_out: Sequence[Utterance]) -> tuple[list[Utterance], list[Skipped]]:
    """What is replayed may not be evaluated on either: another dataset's division knows nothing of this one's."""
    recordings = {utterance.audio_hash for utterance in held_out}
    prompts = {(utterance.language, normalised_prompt(utterance.text)) for utterance in held_out}
    speakers = {utterance.speaker for utterance in held_out if utterance.speaker}
    kept, leaking = [], []
    for utterance in replay:
        prompt = (utterance.language, normalised_prompt(utterance.text))
        if utterance.audio_hash in recordings or prompt in prompts or utterance.speaker in speakers:
            leaking.append(Skipped(utterance=utterance.id, reason="its recording, prompt or speaker is held out in the dataset"))
        else:
            kept.append(utterance)
    return kept, leaking


def steps_of(plan: Plan, options: TrainingOptions) -> int:
    """Optimizer steps until the end of the plan, or until `options.max_steps`: the plan is never begun again."""
    whole = math.ceil(len(plan.rows) / (options.batch_size * options.gradient_accumulation))
    return min(whole, options.max_steps or whole)


def write_plan(plan: Plan, folder: Path) -> None:
    """Write plan.jsonl, validation.jsonl and skipped.jsonl."""
    for name, values in (("plan", plan.rows), ("validation", plan.validation), ("skipped", plan.skipped)):
        write_text(folder / f"{name}.jsonl", "".join(value.model_dump_json() + "\n" for value in values))
