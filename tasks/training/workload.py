"""The plan as work: how long its rows are, in windows, tokens and seconds of speech."""

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tasks.contracts import Utterance
from tasks.training.examples import transcript_of
from tasks.training.flops import Batch
from tasks.training.options import TrainingOptions
from tasks.training.plan import Plan, PlanRow, steps_of
from tasks.voxtral.prompt import VoxtralPrompt


class Row(NamedTuple):
    """A row of the plan."""

    heard: tuple[str, ...]  # hashes of its recordings
    epoch: int
    windows: int
    speech_s: float
    prompt: int  # tokens
    target: int  # tokens that are learned

    @property
    def length(self) -> int:
        """Tokens, without padding."""
        return self.prompt + self.target


class Workload(NamedTuple):
    """What the steps of a training take, in the order of the plan; never empty."""

    steps: int
    batches: tuple[tuple[Row, ...], ...]
    validation: tuple[Row, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """Of all batches."""
        return tuple(row for batch in self.batches for row in batch)

    @property
    def distinct(self) -> tuple[Row, ...]:
        """One row for everything that is heard, in validation too."""
        return tuple({row.heard: row for row in (*self.rows, *self.validation)}.values())

    @property
    def largest(self) -> Batch:
        """One as large as the largest in every way: what memory must hold."""
        return self.largest_of(max(map(len, self.batches)))

    def largest_of(self, at_a_time: int) -> Batch:
        """The same, where so many rows of a batch are computed at a time."""
        shapes = [batch_of(rows[start:][:at_a_time]) for rows in self.batches for start in range(0, len(rows), at_a_time)]
        rows, windows, length, targets, _ = (max(sizes) for sizes in zip(*shapes, strict=True))
        return Batch(rows, windows, length, targets, even=all(shape.even for shape in shapes))

    @property
    def usual(self) -> Batch:
        """A full batch of the usual size: what is measured."""
        shapes = [batch_of(rows) for rows in self.batches]
        full = [shape for shape in shapes if shape.rows == shapes[0].rows]  # the last may be smaller
        rows, windows, length, targets, _ = (round(statistics.mean(sizes)) for sizes in zip(*full, strict=True))
        return Batch(rows, windows, length, targets, even=all(shape.even for shape in full))


def workload(plan: Plan, utterances: Mapping[str, Utterance], options: TrainingOptions, prompt: VoxtralPrompt) -> Workload:
    """The rows that training sees until its last step, batch by batch."""
    steps = steps_of(plan, options)
    planned = plan.rows[: steps * options.batch_size * options.gradient_accumulation]
    rows = [_row(row, utterances, prompt) for row in planned]
    return Workload(
        steps=steps,
        batches=tuple(tuple(rows[start:][: options.batch_size]) for start in range(0, len(rows), options.batch_size)),
        validation=tuple(_row(row, utterances, prompt) for row in plan.validation),
    )


def batch_of(rows: Sequence[Row]) -> Batch:
    """Rows padded to the longest of them."""
    lengths = {row.length for row in rows}
    return Batch(
        rows=len(rows),
        windows=sum(row.windows for row in rows),
        length=max(lengths),
        targets=sum(row.target for row in rows),
        even=len(lengths) == 1,
    )


def _row(row: PlanRow, utterances: Mapping[str, Utterance], prompt: VoxtralPrompt) -> Row:
    spoken = [utterances[name] for name in row.utterances]
    return Row(
        heard=tuple(utterance.audio_hash for utterance in spoken),
        epoch=row.epoch,
        windows=row.windows,
        speech_s=sum(utterance.duration_s for utterance in spoken),
        prompt=len(prompt.prompt(row.language, row.windows)),
        target=len(prompt.target(transcript_of(row, utterances))),
    )
