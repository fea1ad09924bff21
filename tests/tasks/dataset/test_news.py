"""What is new since the published model decides whether another one is made."""

import json
from pathlib import Path

import pytest

from infra.settings import Settings
from tasks.contracts import DatasetVersion, StandingModel
from tasks.dataset.news import Retraining, find_news
from tasks.dataset.version import VersionFacts, read_utterances, write_version


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


FACTS = VersionFacts(split_rule="speakers", seed=0, eval_share=0.3)


def standing(fingerprint: str, utterances: int) -> StandingModel:
    return StandingModel(
        repository="anna/model", revision="1" * 40, dataset_fingerprint=fingerprint, utterances=utterances, adapter=True
    )


def part(digits: DatasetVersion, settings: Settings, first: int, last: int) -> DatasetVersion:
    """A version of some of the utterances, as one of the home."""
    folder = settings.folder("datasets") / f"{first}-{last}"
    folder.mkdir()
    return write_version(folder, "part", read_utterances(digits)[first:last], [], FACTS)


def test_without_a_published_model_everything_is_new(settings: Settings, digits: DatasetVersion):
    news = find_news(settings, digits, None, Retraining())
    assert (news.enough, news.new) == (True, 24)


def test_equal_data_are_nothing_new_wherever_they_lie(settings: Settings, digits: DatasetVersion):
    news = find_news(settings, digits, standing(digits.fingerprint, 24), Retraining())
    assert (news.enough, news.new, news.gone) == (False, 0, 0)
    assert "nothing is new" in news.reason


def test_utterances_are_compared_one_by_one_where_the_version_is_known(settings: Settings, digits: DatasetVersion):
    """As many came as went: their number alone would say that nothing is new."""
    before, now = part(digits, settings, 0, 20), part(digits, settings, 4, 24)
    news = find_news(settings, now, standing(before.fingerprint, 20), Retraining(new_utterances=4))
    assert (news.enough, news.new, news.gone) == (True, 4, 4)
    assert not find_news(settings, now, standing(before.fingerprint, 20), Retraining(new_utterances=5)).enough


@pytest.mark.parametrize(("known", "new", "gone"), [(20, 4, 0), (30, 0, 6)])
def test_elsewhere_made_versions_are_compared_by_number(
    settings: Settings, digits: DatasetVersion, known: int, new: int, gone: int
):
    news = find_news(settings, digits, standing("0" * 64, known), Retraining())
    assert (news.new, news.gone, news.enough) == (new, gone, new > 0)
    assert json.loads(news.model_dump_json())["reason"].startswith(f"{new} utterances are new and {gone} gone since anna/model")
