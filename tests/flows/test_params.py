"""What retraining changes in the parameters that people gave."""

import pytest

from flows.params import Gate, Training
from tasks.contracts import StandingModel
from tasks.dataset.news import Retraining

pytestmark = pytest.mark.fast
COLD, WARM = Retraining(), Retraining(warm_start=True)


def standing(adapter: bool = True) -> StandingModel:
    """What is published."""
    return StandingModel(repository="anna/radio", revision="c0ffee", dataset_fingerprint="f", utterances=10, adapter=adapter)


@pytest.mark.parametrize(
    ("published", "rules", "start"),
    [
        (None, WARM, None),
        (standing(), COLD, None),
        (standing(), WARM, "anna/radio@c0ffee"),
        (standing(adapter=False), WARM, None),
    ],
)
def test_only_a_published_adapter_is_gone_on_from_and_only_when_asked(
    published: StandingModel | None, rules: Retraining, start: str | None
):
    assert Training().going_on_from(published, rules).warm_start == start


def test_what_is_published_is_to_be_beaten():
    assert Gate().against(standing()).rival == "anna/radio@c0ffee"
    assert Gate(rival="anna/other").against(None).rival == "anna/other"
