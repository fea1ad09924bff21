import numpy as np
import pytest

from tasks.evaluation.intervals import wer_intervals
from tasks.speech.error_rates import ErrorCounts

pytestmark = pytest.mark.fast


def drawn_counts(utterances: int, rate: float, seed: int) -> ErrorCounts:
    draw = np.random.default_rng(seed)
    words = draw.integers(2, 9, utterances)
    errors = draw.binomial(words, rate)
    return ErrorCounts(errors, words, errors, 5 * words)


def test_the_interval_is_that_of_an_independent_bootstrap():
    from scipy.stats import bootstrap

    base, tuned = drawn_counts(200, 0.30, 1), drawn_counts(200, 0.22, 2)
    tuned = ErrorCounts(tuned.word_errors, base.words, tuned.character_errors, base.characters)
    _, _, change = wer_intervals(base, tuned, seed=0)

    def difference(tuned_errors, base_errors, words, axis):
        return (tuned_errors.sum(axis) - base_errors.sum(axis)) / words.sum(axis)

    reference = bootstrap(
        (tuned.word_errors, base.word_errors, base.words),
        difference,
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=10_000,
        rng=np.random.default_rng(5),
    ).confidence_interval
    assert change.value == pytest.approx(tuned.wer - base.wer)
    assert change.low == pytest.approx(reference.low, abs=0.004)
    assert change.high == pytest.approx(reference.high, abs=0.004)


def test_equal_models_have_no_change_and_one_utterance_has_a_point_for_an_interval():
    counts = drawn_counts(50, 0.2, 3)
    assert wer_intervals(counts, counts, 0)[2].low == wer_intervals(counts, counts, 0)[2].high == 0
    one = drawn_counts(1, 0.5, 4)
    interval = wer_intervals(one, one, 0)[0]
    assert interval.low == interval.value == interval.high
