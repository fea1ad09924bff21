"""The picture on a published dataset's card: how long its utterances are, how loud, in which languages, and what was refused."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tasks.contracts import Split, Utterance

_TRAIN, _EVAL, _REFUSED = "#9aa5b1", "#1f7a5c", "#b1695a"
_SIDES = ((Split.TRAIN, "training", _TRAIN), (Split.EVAL, "evaluation", _EVAL))
_BINS = 30
_BARS = 8  # languages, or reasons, at most; the rest together


class _Panel(NamedTuple):
    title: str
    draw: Callable[[Any], None]


def draw_dataset(utterances: Sequence[Utterance], refused: Counter[str], path: Path) -> None:
    """Draw as PNG what is known of the published utterances; a panel of which nothing is known is left out."""
    from matplotlib.figure import Figure

    panels = _panels(utterances, refused)
    columns = 2 if len(panels) > 1 else 1
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.6 * columns, 2.9 * rows), layout="constrained")
    for number, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, number)
        panel.draw(axes)
        axes.set_title(panel.title, fontsize="medium")
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
    figure.savefig(path, dpi=140, metadata={"Software": None})


def _panels(utterances: Sequence[Utterance], refused: Counter[str]) -> list[_Panel]:
    sides = [(label, colour, [one for one in utterances if one.split is side]) for side, label, colour in _SIDES]
    durations = [(label, colour, [one.duration_s for one in spoken]) for label, colour, spoken in sides]
    levels = [(label, colour, [level for one in spoken if (level := _level(one)) is not None]) for label, colour, spoken in sides]
    hours = Counter[str]()
    for one in utterances:
        hours[one.language] += one.duration_s / 3600  # type: ignore[assignment]  # a Counter takes fractions, too
    panels = [_Panel("length of an utterance, s", lambda axes: _histogram(axes, durations))]
    if any(values for _, _, values in levels):
        panels.append(_Panel("level, LUFS", lambda axes: _histogram(axes, levels)))
    panels.append(_Panel("hours by language", lambda axes: _bars(axes, hours, _EVAL)))
    if refused:
        panels.append(_Panel("inputs refused", lambda axes: _bars(axes, refused, _REFUSED)))
    return panels


def _level(utterance: Utterance) -> float | None:
    return utterance.measured.level_lufs if utterance.measured else None


def _histogram(axes: Any, sides: Sequence[tuple[str, str, list[float]]]) -> None:
    shown = [side for side in sides if side[2]]
    values, colours, labels = [one[2] for one in shown], [one[1] for one in shown], [one[0] for one in shown]
    axes.hist(values, bins=_BINS, stacked=True, color=colours, label=labels)
    axes.set_ylabel("utterances")
    axes.legend(frameon=False, fontsize="small")


def _bars(axes: Any, counted: Counter[str], colour: str) -> None:
    ordered = sorted(counted.items(), key=lambda one: (-one[1], one[0]))
    shown = (
        ordered[:_BARS] if len(ordered) <= _BARS else [*ordered[: _BARS - 1], ("others", sum(n for _, n in ordered[_BARS - 1 :]))]
    )
    axes.set_ylim(-0.8, len(shown) - 0.2)
    axes.barh([name for name, _ in shown][::-1], [number for _, number in shown][::-1], height=0.6, color=colour)
