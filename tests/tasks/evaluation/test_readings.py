"""Transcripts that do not say what is heard."""

import json
from pathlib import Path

from tasks.dataset.ingest import IngestOptions, ingest
from tasks.dataset.version import read_utterances
from tasks.evaluation.readings import compare_readings
from tasks.voxtral.checkpoint import find_checkpoint
from tasks.voxtral.tiny import TINY_NAME
from tests.builders.speech import digit_corpus


def test_swapped_transcripts_are_found_and_right_ones_are_not(tmp_path: Path):
    source = digit_corpus(tmp_path / "source", "en", 16)
    manifest = source / "manifest.jsonl"
    lines = manifest.read_text().splitlines()
    wrong = "one seven three nine eight zero two"
    swapped = [line.replace(json.loads(line)["text"], wrong) if number < 3 else line for number, line in enumerate(lines)]
    manifest.write_text("\n".join(swapped))
    version = ingest(source, "digits", IngestOptions(language="en"), tmp_path / "version", processes=1)
    readings = compare_readings(
        find_checkpoint(TINY_NAME, None), version, tmp_path / "readings", tmp_path / "transcripts", 0.5, 8
    )
    texts = [one.text for one in read_utterances(version)]
    assert readings.utterances == len(texts) > 12
    assert [one.text for one in readings.differing] == [wrong] * texts.count(wrong)
    assert texts.count(wrong) > 1
