"""How sure we are of word error rates.

The interval is a percentile bootstrap over utterances (Bisani & Ney 2004): utterances are drawn with replacement, and base and tuned
are always drawn together, so that the change of WER is measured on the same utterances.
"""

import numpy as np

from tasks.contracts import Interval
from tasks.speech.error_rates import ErrorCounts

RESAMPLES = 10_000
_BLOCK = 500  # resamples at a time: bounds the memory at 500 x utterances counts
_CONFIDENCE = 0.95


def wer_intervals(base: ErrorCounts, tuned: ErrorCounts, seed: int) -> tuple[Interval, Interval, Interval]:
    """WER of base, of tuned, and tuned minus base, each with its 95 % interval from the same resamples."""
    draw = np.random.default_rng(seed)
    utterances = len(base.words)
    errors = np.stack([base.word_errors, tuned.word_errors, base.words], axis=1)  # (utterances, 3)
    rates = []
    for start in range(0, RESAMPLES, _BLOCK):
        size = min(_BLOCK, RESAMPLES - start)
        counts = draw.multinomial(utterances, np.full(utterances, 1 / utterances), size=size)  # (resamples, utterances)
        sums = counts @ errors
        rates.append(sums[:, :2] / sums[:, 2:])
    wer = np.concatenate(rates)
    return (
        _interval(base.wer, wer[:, 0]),
        _interval(tuned.wer, wer[:, 1]),
        _interval(tuned.wer - base.wer, wer[:, 1] - wer[:, 0]),
    )


def _interval(value: float, resampled: np.ndarray) -> Interval:
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Interval(value=value, low=float(low), high=float(high))
