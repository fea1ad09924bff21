import numpy as np
import pytest

from tasks.contracts import Score
from tasks.evaluation.gate import GateRules, decide
from tasks.evaluation.intervals import wer_rates
from tasks.speech.error_rates import ErrorCounts
from tests.builders.reports import report, score

pytestmark = pytest.mark.fast


def counts(errors: np.ndarray, words: np.ndarray) -> ErrorCounts:
    none = np.zeros_like(errors)
    return ErrorCounts(errors, none, none, words, errors, 5 * words)


def drawn_counts(utterances: int, rate: float, seed: int) -> ErrorCounts:
    draw = np.random.default_rng(seed)
    words = draw.integers(2, 9, utterances)
    return counts(draw.binomial(words, rate), words)


def pair(utterances: int) -> tuple[ErrorCounts, ErrorCounts]:
    base, tuned = drawn_counts(utterances, 0.30, 1), drawn_counts(utterances, 0.22, 2)
    return base, counts(np.minimum(tuned.word_errors, base.words), base.words)


def difference(tuned_errors, base_errors, words, axis):
    return (tuned_errors.sum(axis) - base_errors.sum(axis)) / words.sum(axis)


def independent(tuned: np.ndarray, base: np.ndarray, words: np.ndarray):
    from scipy.stats import bootstrap

    return bootstrap(
        (tuned, base, words),
        difference,
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=10_000,
        rng=np.random.default_rng(5),
    ).confidence_interval


def test_the_interval_is_that_of_an_independent_bootstrap():
    base, tuned = pair(200)
    rates = wer_rates(base, tuned, seed=0)
    reference = independent(tuned.word_errors, base.word_errors, base.words)
    assert rates.drawn == "utterances"
    assert rates.change.value == pytest.approx(tuned.wer - base.wer)
    assert rates.change.low == pytest.approx(reference.low, abs=0.004)
    assert rates.change.high == pytest.approx(reference.high, abs=0.004)
    assert rates.p_better > 0.99


def test_speakers_are_drawn_with_all_that_they_said_where_there_are_enough():
    base, tuned = pair(240)
    speakers = [f"speaker {number % 12}" for number in range(240)]
    by_speaker = [[one[place::12].sum() for place in range(12)] for one in (tuned.word_errors, base.word_errors, base.words)]
    reference = independent(*(np.array(sums) for sums in by_speaker))
    rates = wer_rates(base, tuned, 0, speakers)
    assert rates.drawn == "speakers"
    assert (rates.change.low, rates.change.high) == pytest.approx((reference.low, reference.high), abs=0.004)
    for unknown in ([*speakers[:-1], None], ["a", "b"] * 120):
        assert wer_rates(base, tuned, 0, unknown) == wer_rates(base, tuned, 0)


def test_equal_models_have_no_change_and_one_utterance_has_a_point_for_an_interval():
    same = drawn_counts(50, 0.2, 3)
    rates = wer_rates(same, same, 0)
    assert (rates.change.low, rates.change.high, rates.p_better) == (0, 0, 0)
    one = drawn_counts(1, 0.5, 4)
    interval = wer_rates(one, one, 0).base
    assert interval.low == interval.value == interval.high


# How often the gate is right, over many trials: utterances of 4 to 12 words, some hard and some easy for both models.


def trial(draw: np.random.Generator, better_by: float, utterances: int = 300) -> Score:
    words = draw.integers(4, 13, utterances)
    difficulty = draw.beta(1, 6, utterances)  # one in seven words is wrong
    base, tuned = (counts(draw.binomial(words, difficulty * share), words) for share in (1, 1 - 7 * better_by))
    rates = wer_rates(base, tuned, int(draw.integers(1 << 30)), resamples=1000)
    drawn = score("target", 0, 0, utterances=utterances)
    return drawn.model_copy(update={"wer_base": rates.base, "wer_tuned": rates.tuned, "wer_change": rates.change})


@pytest.mark.parametrize(("better_by", "at_least", "at_most"), [(0.0, 0, 50), (0.03, 800, 1000)])
def test_equal_models_seldom_pass_and_truly_better_ones_mostly(better_by: float, at_least: int, at_most: int):
    draw = np.random.default_rng(11)
    passed = sum(decide(report(trial(draw, better_by)), GateRules()).publish for _ in range(1000))
    assert at_least <= passed <= at_most
