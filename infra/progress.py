"""Progress of long work: the work reports, whoever runs it decides how to show it.

A stage calls `report`; the command line installs a listener that draws bars. Without one, nothing happens: reporting costs a
function call.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` units of a stage; `note` is a short figure to show beside the bar (a loss, a count)."""

    stage: str
    done: int
    total: int
    note: str = ""


_listeners: list[Callable[[Progress], None]] = []


def report(stage: str, done: int, total: int, note: str = "") -> None:
    """Tell every listener how far a stage is."""
    for listener in _listeners:
        listener(Progress(stage, done, total, note))


@contextmanager
def listening(listener: Callable[[Progress], None]) -> Iterator[None]:
    """Send progress to `listener` while the block runs."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
