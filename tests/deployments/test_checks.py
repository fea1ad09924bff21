"""Checks of ingestion from the command line, and what it tells of them."""

import numpy as np
import pytest
import soundfile

from deployments.options import set_checks
from deployments.summary import told_of_dataset
from infra.errors import SettingsError
from tasks.dataset.ingest import IngestOptions, ingest
from tasks.speech.checks import Answer, Check, SpeechChecks
from tests.builders.speech import voice

pytestmark = pytest.mark.fast


def test_names_of_checks_say_what_they_do_and_other_names_are_limits():
    checks = SpeechChecks.model_validate(set_checks(["noisy=refuse", "long_silence_at_an_end=repair", "least_snr_db=5"]))
    assert checks.answer(Check.NOISY) is Answer.REFUSE
    assert checks.answer(Check.EDGES) is Answer.REPAIR
    assert checks.answer(Check.CLIPPED) is Answer.REFUSE
    assert checks.least_snr_db == 5


@pytest.mark.parametrize("given", ["noise=refuse", "noisy", "answers={}"])
def test_what_is_no_check_is_told_with_those_that_there_are(given: str):
    with pytest.raises(SettingsError, match=r"--check"):
        set_checks([given])


def test_refusals_and_warnings_are_counted_by_kind(tmp_path):
    for number, text in enumerate(("eins", "zwei", "drei 3", "vier")):
        soundfile.write(tmp_path / f"{number}.wav", voice(number) if number < 3 else np.zeros(16_000), 16_000)
        (tmp_path / f"{number}.txt").write_text(text)
    version = ingest(tmp_path, "x", IngestOptions(language="de"), tmp_path / "version", processes=1)
    refused, warned = told_of_dataset(version)
    assert refused.endswith(": 1 silent")
    assert "1 digits or symbols" in warned
