import pytest

from tasks.contracts import Silence
from tasks.evaluation.gate import GateRules, decide
from tests.builders.reports import report, score

pytestmark = pytest.mark.fast
BETTER = score("german", 1.0, 0.1)


def test_a_model_that_is_better_and_forgot_nothing_is_published_with_its_numbers():
    decision = decide(report(BETTER, score("english", 0.04, 0.05)), GateRules())
    assert decision.publish
    assert "100.0% -> 10.0%" in decision.reasons[0]
    assert "english: WER 4.0% -> 5.0%" in decision.reasons[1]


def test_what_is_not_sure_to_be_better_needs_more_data_and_is_told_how_much():
    decision = decide(report(score("german", 0.5, 0.48, width=0.04)), GateRules())
    assert not decision.publish
    assert decision.more_utterances == 301  # half the width takes four times the 100, and one more
    assert "not enough data to say that it is better: about 301 held-out utterances more might do" in decision.reasons[0]
    few = decide(report(score("german", 1.0, 0.1, utterances=4)), GateRules())
    assert (few.publish, few.more_utterances) == (False, 6)
    forgot = decide(report(score("german", 0.5, 0.48, width=0.04), score("english", 0.05, 1.09)), GateRules())
    assert forgot.more_utterances is None, "more data would not help"


def test_outputs_that_do_not_end_are_no_more_than_before():
    decision = decide(report(BETTER, score("english", 0.04, 0.05, endless=2)), GateRules())
    assert not decision.publish
    assert decision.reasons[-1] == "english: 2 outputs do not end by themselves, 0 before"


@pytest.mark.parametrize("tuned", [0.5, 0.6])
def test_a_model_that_is_not_better_is_not_published(tuned: float):
    decision = decide(report(score("german", 0.5, tuned)), GateRules())
    assert not decision.publish
    assert "not better" in decision.reasons[0]


def test_a_model_that_forgot_a_guard_set_is_not_published_however_good_it_is():
    decision = decide(report(BETTER, score("english", 0.05, 1.09)), GateRules())
    assert not decision.publish
    assert "english: WER 5.0% -> 109.0%" in decision.reasons[1]
    assert "lost more than 5%" in decision.reasons[1]


def test_one_language_of_a_guard_set_is_refused_only_when_the_loss_is_beyond_chance():
    few = score("known", 0.05, 0.12, language="nl", width=0.2)
    sure = score("known", 0.05, 0.30, language="nl", width=0.1)
    whole = score("known", 0.05, 0.06)
    assert decide(report(BETTER, whole, few), GateRules()).publish
    assert not decide(report(BETTER, whole, sure), GateRules()).publish


def test_the_margin_is_a_setting():
    lost = report(BETTER, score("english", 0.05, 0.13))
    assert not decide(lost, GateRules()).publish
    assert decide(lost, GateRules(guard_margin=0.1)).publish
    assert decide(lost, GateRules(guard_margins={"english": 0.1})).publish
    assert not decide(lost, GateRules(guard_margin=0.1, guard_margins={"english": 0.01})).publish


def test_hardly_more_outputs_run_in_circles_than_before():
    assert decide(report(score("german", 1.0, 0.1, loops=1)), GateRules()).publish
    decision = decide(report(score("german", 1.0, 0.1, loops=2)), GateRules())
    assert not decision.publish
    assert decision.reasons[-1] == "german: 2 outputs run in circles, 0 before"
    assert decide(report(score("german", 1.0, 0.1, loops=2)), GateRules(loops_margin=0.05)).publish


def test_a_model_that_makes_up_words_where_nobody_speaks_is_not_published():
    made_up = report(BETTER).model_copy(update={"silence": Silence(clips=20, seconds=60, words_base=3, words_tuned=14)})
    decision = decide(made_up, GateRules())
    assert not decision.publish
    assert decision.reasons[-1] == "where nobody speaks: 3 -> 14 words in 60 s, more than twice as many, and 10 a minute more"
    assert decide(made_up, GateRules(silence_margin=11)).publish
