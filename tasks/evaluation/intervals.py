"""How sure we are of word error rates.

The interval is a percentile bootstrap (Bisani & Ney 2004): utterances are drawn with replacement, or speakers with all that they said,
where there are enough of them, since one voice's utterances go well or badly together. Base and tuned are always drawn together, so that
the change of WER is measured on the same utterances.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from tasks.contracts import Interval
from tasks.speech.error_rates import ErrorCounts

RESAMPLES = 10_000
_SPEAKERS = 10  # of fewer, the intervals come out too narrow (Cameron, Gelbach & Miller 2008)
_BLOCK_DRAWS = 1 << 20  # at a time: bounds the memory
_CONFIDENCE = 0.95


class Rates(NamedTuple):
    """Of base and tuned, and of tuned minus base, from the same resamples; `p_better`: the share of them in which WER falls."""

    base: Interval
    tuned: Interval
    change: Interval
    p_better: float
    drawn: Literal["utterances", "speakers"]


def wer_rates(
    base: ErrorCounts, tuned: ErrorCounts, seed: int, speakers: Sequence[str | None] = (), resamples: int = RESAMPLES
) -> Rates:
    """Word error rates, each with its 95 % interval.

    Args:
        base: errors in utterances.
        tuned: errors in the same ones.
        seed: of the draws.
        speakers: who said each utterance, if that is known.
        resamples: how often to draw.

    """
    errors = np.stack([base.word_errors, tuned.word_errors, base.words], axis=1)  # (utterances, 3)
    by_speaker = len(set(speakers)) >= _SPEAKERS and None not in speakers
    units = _sums_by(speakers, errors) if by_speaker else errors
    wer = _resampled(units, np.random.default_rng(seed), resamples)
    changes = wer[:, 1] - wer[:, 0]
    return Rates(
        _interval(base.wer, wer[:, 0]),
        _interval(tuned.wer, wer[:, 1]),
        _interval(tuned.wer - base.wer, changes),
        float((changes < 0).mean()),
        "speakers" if by_speaker else "utterances",
    )


def _sums_by(speakers: Sequence[str | None], errors: np.ndarray) -> np.ndarray:
    """(speakers, 3)."""
    _, place = np.unique(np.array(speakers), return_inverse=True)
    sums = np.zeros((place.max() + 1, errors.shape[1]), dtype=errors.dtype)
    np.add.at(sums, place, errors)
    return sums


def _resampled(units: np.ndarray, draw: np.random.Generator, resamples: int) -> np.ndarray:
    """WER of base and tuned in each resample: (resamples, 2)."""
    count, rates = len(units), []
    columns = [np.ascontiguousarray(column) for column in units.T]
    at_a_time = max(1, _BLOCK_DRAWS // count)
    for start in range(0, resamples, at_a_time):
        drawn = draw.integers(0, count, size=(min(at_a_time, resamples - start), count), dtype=np.int32)
        of_base, of_tuned, words = (column.take(drawn).sum(axis=1) for column in columns)
        rates.append(np.stack([of_base / words, of_tuned / words], axis=1))
    return np.concatenate(rates)


def _interval(value: float, resampled: np.ndarray) -> Interval:
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Interval(value=value, low=float(low), high=float(high))
