"""The training plan: which utterances are heard in which window at which position, written down before training begins.

It is a function of the utterances, the options and the window alone. Resuming is a cursor into it, so that an interrupted run sees
exactly the rows that it has not seen. The price is one JSON line a row.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path

from infra.errors import TrainingError
from infra.storage import write_text
from tasks.contracts import Contract, Utterance
from tasks.speech.transcript import normalised_prompt
from tasks.training.options import TrainingOptions
from tasks.training.packing import shared_windows

_MOST_VALIDATION = 500  # utterances: more make no better choice of a model, and cost time at every checkpoint
_BUCKETED_STEPS = 32  # rows of so many steps are sorted together
_Window = tuple[Utterance, ...]


class PlanRow(Contract):
    """One position of the plan: what a window holds, in order, and the language that the prompt names.

    Several utterances share a window; or one that is longer than a window fills several, divided at `cuts`, counted in samples.
    """

    epoch: int
    utterances: tuple[str, ...]
    language: str | None
    cuts: tuple[int, ...] = ()

    @property
    def windows(self) -> int:
        """How many windows the row takes."""
        return len(self.cuts) + 1


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
    cuts: Mapping[str, tuple[int, ...]] | None = None,
) -> Plan:
    """Order the rows of every epoch, mix in replayed ones, and hold some utterances back for validation.

    Every epoch holds every utterance that is not held back once, and `options.replay_share` times as many replayed ones, dealt in
    turn so that all of them are used before one comes again. A replayed utterance that shares recording, prompt or speaker with
    `held_out`, or a recording with validation, is skipped. `cuts` tells where utterances that are longer than a window are cut;
    without, they are skipped.

    Raises:
        TrainingError: no utterance fits into the model's window.

    """
    cuts = cuts or {}
    fitting, skipped = _fitting(utterances, window_s, cuts)
    if not fitting:
        raise TrainingError(
            f"None of {len(utterances)} training utterances fits into the model's window of {window_s:g} s",
            "Set long_utterances=cut, cut the recordings at pauses, or add shorter ones",
        )
    replayable, also_skipped = _fitting(replay, window_s, cuts)
    draw = random.Random(options.seed)
    draw.shuffle(fitting)
    held_back = min(max(1, round(options.validation_share * len(fitting))), _MOST_VALIDATION)
    validation, training = fitting[:held_back], fitting[held_back:] or fitting  # one utterance alone validates itself
    replayable, leaking = _without_leaks(replayable, held_out, validation)
    draw.shuffle(replayable)
    replayed_an_epoch = round(options.replay_share * len(training)) if replayable else 0
    alone = _Epoch(_alone(training), _alone(replayable))
    shared = alone
    if options.packing != "off":
        shared = _Epoch(*(shared_windows(spoken, options.packing, window_s, draw) for spoken in (training, replayable)))
    rows: list[PlanRow] = []
    for epoch in range(options.epochs):
        seen = (shared if epoch < packed_epochs(options) else alone).windows(replayed_an_epoch)
        draw.shuffle(seen)
        if options.length_buckets:
            to_full_step = -len(rows) % options.batch_size  # what the epoch before left of its last one
            seen = seen[:to_full_step] + _bucketed(seen[to_full_step:], options.batch_size, draw)
        for window in seen:
            language = None if draw.random() < options.without_language else window[0].language
            rows.append(_row(epoch, window, language, cuts))
    checked = [_row(0, (utterance,), utterance.language, cuts) for utterance in validation]
    return Plan(rows=tuple(rows), validation=tuple(checked), skipped=tuple(skipped + also_skipped + leaking))


def packed_epochs(options: TrainingOptions) -> int:
    """In how many epochs, from the first, utterances share windows: the share rounded down, but one at least."""
    return 0 if options.packing == "off" else max(1, math.floor(options.packed_share * options.epochs))


class _Epoch:
    """What every epoch of a kind holds: all windows that are trained on, and replayed ones in turn."""

    def __init__(self, training: Sequence[_Window], replayable: Sequence[_Window]) -> None:
        self._training, self._turn = training, cycle(replayable)

    def windows(self, replayed: int) -> list[_Window]:
        return [*self._training, *self._replay(replayed)]

    def _replay(self, utterances: int) -> Iterator[_Window]:
        dealt = 0
        while dealt < utterances:
            window = next(self._turn)
            dealt += len(window)
            yield window


def _alone(utterances: Sequence[Utterance]) -> list[_Window]:
    return [(utterance,) for utterance in utterances]


def _bucketed(windows: Sequence[_Window], batch_size: int, draw: random.Random) -> list[_Window]:
    """Steps whose transcripts are of like length, in a drawn order: as random as before but for who stands together."""
    steps = []
    for first in range(0, len(windows), _BUCKETED_STEPS * batch_size):
        block = sorted(windows[first : first + _BUCKETED_STEPS * batch_size], key=_characters)
        steps += [block[start : start + batch_size] for start in range(0, len(block), batch_size)]
    last = [steps.pop()] if steps and len(steps[-1]) < batch_size else []
    draw.shuffle(steps)
    return [window for step in steps + last for window in step]


def _characters(window: _Window) -> int:
    return sum(len(utterance.text) for utterance in window)


def _row(epoch: int, window: _Window, language: str | None, cuts: Mapping[str, tuple[int, ...]]) -> PlanRow:
    names = tuple(utterance.id for utterance in window)
    return PlanRow(epoch=epoch, utterances=names, language=language, cuts=cuts.get(names[0], ()))


def _fitting(
    utterances: Sequence[Utterance], window_s: float, cuts: Mapping[str, tuple[int, ...]]
) -> tuple[list[Utterance], list[Skipped]]:
    ordered = sorted(utterances, key=lambda utterance: utterance.id)
    skipped = [
        Skipped(utterance=u.id, reason=f"lasts {u.duration_s:.1f} s; the model's window holds {window_s:g} s")
        for u in ordered
        if u.duration_s > window_s and u.id not in cuts
    ]
    refused = {one.utterance for one in skipped}
    return [utterance for utterance in ordered if utterance.id not in refused], skipped


def _without_leaks(
    replay: Sequence[Utterance], held_out: Sequence[Utterance], validation: Sequence[Utterance]
) -> tuple[list[Utterance], list[Skipped]]:
    """What is replayed may not be evaluated on either: another dataset's division knows nothing of this one's.

    Validation shares prompts and speakers with what is trained on, so that only its recordings matter.
    """
    recordings = {utterance.audio_hash for utterance in (*held_out, *validation)}
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
