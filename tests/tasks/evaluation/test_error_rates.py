import jiwer
import numpy as np
import pytest

from infra.errors import EvaluationError
from tasks.evaluation.error_rates import ErrorCounts, count_errors, normalise, wer_intervals

pytestmark = pytest.mark.fast
REFERENCES = ["The cat sat.", "one two three four", "fünf sechs sieben", "नमस्ते दुनिया"]
HYPOTHESES = ["the cat sat down", "one three five", "", "नमस्ते दुनिया"]


def drawn_counts(utterances: int, rate: float, seed: int) -> ErrorCounts:
    draw = np.random.default_rng(seed)
    words = draw.integers(2, 9, utterances)
    errors = draw.binomial(words, rate)
    return ErrorCounts(errors, words, errors, 5 * words)


def test_rates_are_those_of_jiwer():
    counts = count_errors(REFERENCES, HYPOTHESES)
    references, hypotheses = [normalise(text) for text in REFERENCES], [normalise(text) for text in HYPOTHESES]
    assert counts.wer == pytest.approx(jiwer.wer(references, hypotheses))
    assert counts.cer == pytest.approx(jiwer.cer(references, hypotheses))
    assert counts.word_errors.tolist() == [1, 2, 3, 0]


def test_case_and_punctuation_do_not_count_and_number_words_stay_apart():
    assert count_errors(["One, two. THREE!"], ["one two three"]).wer == 0
    assert normalise("one two three") == "one two three"


def test_a_reference_without_words_has_no_rate():
    with pytest.raises(EvaluationError, match="no word"):
        count_errors(["..."], ["text"])
    with pytest.raises(EvaluationError, match="no utterances"):
        count_errors([], [])


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
