"""Real recordings in three languages, where Debian's packages of them are installed (asterisk-core-sounds-{en,es,fr}-wav)."""

import json
from pathlib import Path

import pytest

from tasks.dataset.ingest import IngestOptions, ingest
from tasks.dataset.version import read_rejects, read_utterances
from tasks.speech.checks import Check
from tests.benchmarks.ingest.alarms import SOUNDS, prompts

pytestmark = [pytest.mark.fast, pytest.mark.skipif(not SOUNDS.is_dir(), reason="asterisk-core-sounds-*-wav are not installed")]
EVERY = 5


def test_real_prompts_go_in_with_their_true_languages(tmp_path: Path):
    chosen = prompts()[::EVERY]
    rows = [{"audio_path": str(one.path), "text": one.text, "language": one.language} for one in chosen]
    (tmp_path / "manifest.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    version = ingest(tmp_path / "manifest.jsonl", "prompts", IngestOptions(), tmp_path / "version", processes=2)
    assert version.languages == ("en", "es", "fr")
    assert len(read_rejects(version)) <= 0.02 * len(chosen)  # two that are longer than 30 s, and equal ones
    suspected = [one.text for one in read_utterances(version) if Check.LANGUAGE in one.warned_of]
    assert not suspected
