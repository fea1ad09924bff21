"""The figure of an evaluation: WER before and after, set by set, with intervals."""

from collections.abc import Sequence
from pathlib import Path

from tasks.contracts import Interval, Score

_BEFORE, _AFTER = "#9aa5b1", "#1f7a5c"


def draw_scores(scores: Sequence[Score], before: str, after: str, path: Path) -> None:
    """Draw one pair of bars a set (and language), as PNG; the two models are called `before` and `after`."""
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 1.1 + 0.62 * len(scores)), layout="constrained")
    axes = figure.add_subplot()
    rows = np.arange(len(scores))[::-1]
    for offset, colour, label, intervals in (
        (0.19, _BEFORE, before, [score.wer_base for score in scores]),
        (-0.19, _AFTER, after, [score.wer_tuned for score in scores]),
    ):
        axes.barh(
            rows + offset,
            [100 * interval.value for interval in intervals],
            height=0.36,
            color=colour,
            label=label,
            xerr=_error_bars(intervals),
            error_kw={"elinewidth": 1, "capsize": 2},
        )
    axes.set_yticks(rows, [_label(score.set_name, score.language, score.utterances) for score in scores])
    axes.set(xlabel="word error rate, % (95 % interval)", xlim=(0, None))
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper right", ncols=2, frameon=False)  # inside, it would hide bars
    unfinished = path.with_suffix(".part.png")
    figure.savefig(unfinished, dpi=140)
    unfinished.replace(path)


def _label(name: str, language: str, utterances: int) -> str:
    return f"{name} (n={utterances})" if language == "all" else f"{language} (n={utterances})"


def _error_bars(intervals: list[Interval]) -> list[list[float]]:
    below = [max(0.0, 100 * (interval.value - interval.low)) for interval in intervals]
    above = [max(0.0, 100 * (interval.high - interval.value)) for interval in intervals]
    return [below, above]
