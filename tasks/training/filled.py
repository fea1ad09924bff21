"""Rows that fill the last batch up, so that each of several processes has as many: they add nothing to any loss.

Left alone, accelerate would fill it with the first rows of the plan, which would be trained on twice. A blank row is the last one
again, without labels; the loss is divided by the number of labels in the whole batch, over all processes.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from tasks.training import ranks
from tasks.training.examples import Example, PlannedExamples
from tasks.voxtral.prompt import IGNORED_LABEL


class FilledUp:
    """Examples, and blank ones up to a multiple of what all processes compute at a time.

    One process alone needs none.

    Args:
        examples: those that count.
        rows: how many each process computes at a time.

    """

    def __init__(self, examples: PlannedExamples, rows: int) -> None:
        self._examples = examples
        together = rows * ranks.count() if ranks.count() > 1 else 1
        self._length = together * math.ceil(len(examples) / together)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[Example, bool]:
        """An example, and whether it counts."""
        last = len(self._examples) - 1
        return self._examples[min(index, last)], index <= last


def collate_filled(
    collate: Callable[[Sequence[Example]], dict[str, Any]],
) -> Callable[[Sequence[tuple[Example, bool]]], dict[str, Any]]:
    """`collate`, for what FilledUp gives: a blank example is a row whose labels are all -100."""

    def collated(rows: Sequence[tuple[Example, bool]]) -> dict[str, Any]:
        batch = collate([example for example, _ in rows])
        for place, (_, counts) in enumerate(rows):
            if not counts:
                batch["labels"][place] = IGNORED_LABEL
        return batch

    return collated
