"""Progress of long work: the work reports, whoever runs it decides how to show it.

A stage calls `report`; the command line installs a listener that draws bars. Without one, nothing happens: reporting costs a
function call.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` units of a stage.

    `note` is a short figure to show beside the bar (a loss, a count); `figures` are what was measured there, by name, None if it is no
    number.
    """

    stage: str
    done: int
    total: int
    note: str = ""
    figures: Mapping[str, float | None] = field(default_factory=dict)


_listeners: list[Callable[[Progress], None]] = []


def report(stage: str, done: int, total: int, note: str = "", figures: Mapping[str, float | None] | None = None) -> None:
    """Tell every listener how far a stage is."""
    for listener in _listeners:
        listener(Progress(stage, done, total, note, figures or {}))


@contextmanager
def listening(listener: Callable[[Progress], None]) -> Iterator[None]:
    """Send progress to `listener` while the block runs."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
