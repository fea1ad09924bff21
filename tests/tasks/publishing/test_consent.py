"""Before everyone gets what was made from private voices, somebody says yes twice."""

import json
from pathlib import Path

import pytest

from infra.errors import PublishingError
from infra.settings import Settings
from tasks.contracts import Consent, DatasetVersion
from tasks.publishing.consent import check_consent, unmeasured_sets
from tests.builders.reports import report, score

pytestmark = pytest.mark.fast


@pytest.fixture
def private() -> DatasetVersion:
    return report(score("ours", 0.1, 0.05)).dataset


def test_private_voices_are_published_in_private(private: DatasetVersion):
    check_consent(Settings(), [private], public=False, unknown=["f" * 64])


def test_the_first_yes_alone_is_not_enough(private: DatasetVersion):
    public = private.model_copy(update={"name": "theirs", "consent_scope": Consent.PUBLIC})
    with pytest.raises(PublishingError, match=r"speakers of ours is private.*VOXFACTORY_PUBLISH_PRIVATE_VOICES=true"):
        check_consent(Settings(), [private, public, private], public=True)
    check_consent(Settings(), [public], public=True)


def test_the_second_yes_is_a_setting_of_its_own(private: DatasetVersion, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VOXFACTORY_PUBLISH_PRIVATE_VOICES", "true")
    check_consent(Settings(), [private], public=True, unknown=["f" * 64])


def test_what_was_mixed_into_the_training_and_is_known_by_no_report_counts_as_private(private: DatasetVersion, tmp_path: Path):
    made = report(score("ours", 0.1, 0.05))
    trained = made.model_copy(update={"model": made.model.model_copy(update={"folder": tmp_path})})
    (tmp_path / "training_config.json").write_text(json.dumps({"replay_fingerprints": [private.fingerprint, "c" * 64]}))
    unknown = unmeasured_sets(trained)
    assert unknown == ["c" * 64]
    public = private.model_copy(update={"consent_scope": Consent.PUBLIC})
    with pytest.raises(PublishingError, match="the set cccccccccccc that was mixed in is private"):
        check_consent(Settings(), [public], public=True, unknown=unknown)
