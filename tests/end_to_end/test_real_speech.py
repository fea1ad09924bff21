"""Real human speech through every stage, one command at a time."""

import json
from pathlib import Path

from tests.builders.speech import REAL_SPEECH
from tests.end_to_end.conftest import Command


def test_real_recordings_are_ingested_trained_on_transcribed_and_staged(voxfactory: Command):
    def folder_of(*arguments: object) -> Path:
        done = voxfactory(*arguments)
        assert done.returncode == 0, done.stderr[-3000:]
        return Path(done.stdout.strip().splitlines()[-1])

    dataset = folder_of("ingest", REAL_SPEECH, "--language", "en", "--name", "asterisk", "--licence", "cc-by-sa-3.0")
    description = json.loads((dataset / "dataset.json").read_text())
    assert description["rejected"] == 0
    assert description["train_utterances"] + description["eval_utterances"] == len(list(REAL_SPEECH.glob("*.wav")))

    run = folder_of("train", dataset, "--max-steps", 10, "--learning-rate", 1e-3, "--epochs", 2)
    results = json.loads((run / "train_results.json").read_text())
    assert results["steps"] == 10
    losses = [entry["loss"] for entry in json.loads((run / "trainer_state.json").read_text())["log_history"] if "loss" in entry]
    assert 0 < losses[-1] < 20

    evaluation = folder_of("evaluate", run, dataset)
    report = json.loads((evaluation / "report.json").read_text())
    assert report["scores"][0]["utterances"] == description["eval_utterances"]
    assert all(example["reference"] for example in report["examples"])

    published = folder_of("publish", evaluation, "--name", "me/asterisk", "--licence", "cc-by-sa-3.0", "--anyway")
    card = (published / "repository" / "README.md").read_text()
    assert "license: cc-by-sa-3.0" in card
    assert "me/asterisk" in card
