import pytest

from tasks.evaluation.gate import GateRules, decide
from tests.builders.reports import report, score

pytestmark = pytest.mark.fast
BETTER = score("german", 1.0, 0.1)


def test_a_model_that_is_better_and_forgot_nothing_is_published_with_its_numbers():
    decision = decide(report(BETTER, score("english", 0.04, 0.05)), GateRules())
    assert decision.publish
    assert "100.0% -> 10.0%" in decision.reasons[0]
    assert "english: WER 4.0% -> 5.0%" in decision.reasons[1]


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
