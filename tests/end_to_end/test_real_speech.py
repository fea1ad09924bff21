"""Real human speech through every stage, one command at a time, with Ctrl-C in the middle of training."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.processes import environment, hear_interrupts
from tests.builders.speech import REAL_SPEECH
from tests.end_to_end.conftest import Command

STEPS = 16


def folder_of(done: "subprocess.CompletedProcess[str]") -> Path:
    """What a command that went well printed last."""
    assert done.returncode == 0, done.stderr[-3000:]
    return Path(done.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def dataset(voxfactory: Command) -> Path:
    return folder_of(voxfactory("ingest", REAL_SPEECH, "--language", "en", "--name", "asterisk", "--licence", "cc-by-sa-3.0"))


@pytest.fixture(scope="module")
def training(dataset: Path) -> list[str]:
    """The command line of the training."""
    return ["train", str(dataset), "--max-steps", str(STEPS), "--learning-rate", "1e-3", "--epochs", "3"]


@pytest.fixture(scope="module")
def interrupted(training: list[str], workplace: Path, server: str) -> "subprocess.CompletedProcess[str]":
    """Ctrl-C once it tells of a step."""
    process = subprocess.Popen(
        [sys.executable, "-m", "deployments.cli", *training],
        env=environment(workplace / "home", server),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hear_interrupts,
    )
    for line in process.stderr or ():
        if line.startswith("train: "):
            break
    os.kill(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    return subprocess.CompletedProcess(training, process.returncode, output, errors)


@pytest.fixture(scope="module")
def run(interrupted: "subprocess.CompletedProcess[str]", training: list[str], voxfactory: Command) -> Path:
    """The same command again."""
    again = voxfactory(*training)
    folder = folder_of(again)
    first_shown = next(line for line in again.stderr.splitlines() if line.startswith("train: "))
    assert not first_shown.startswith("train: 1/")
    return folder


def test_every_recording_is_taken(dataset: Path):
    description = json.loads((dataset / "dataset.json").read_text())
    assert description["rejected"] == 0
    assert description["train_utterances"] + description["eval_utterances"] == len(list(REAL_SPEECH.glob("*.wav")))


def test_ctrl_c_in_training_leaves_a_checkpoint_and_nothing_half_written(
    interrupted: "subprocess.CompletedProcess[str]", workplace: Path
):
    assert interrupted.returncode == 130
    assert "Interrupted. What was finished is kept" in interrupted.stderr
    assert "Traceback" not in interrupted.stderr
    (left,) = (workplace / "home" / "runs").glob("[!.]*")
    assert list(left.glob("checkpoint-*/complete"))
    assert not (left / "final-model").exists()


def test_the_same_command_goes_on_from_there(run: Path):
    assert json.loads((run / "train_results.json").read_text())["steps"] == STEPS
    losses = [entry["loss"] for entry in json.loads((run / "trainer_state.json").read_text())["log_history"] if "loss" in entry]
    assert 0 < losses[-1] < 20
    assert (run / "final-model" / "adapter_model.safetensors").is_file()


def test_the_model_is_evaluated_and_published(run: Path, dataset: Path, voxfactory: Command):
    evaluation = folder_of(voxfactory("evaluate", run, dataset))
    report = json.loads((evaluation / "report.json").read_text())
    assert report["scores"][0]["utterances"] == json.loads((dataset / "dataset.json").read_text())["eval_utterances"]
    assert all(example["reference"] for example in report["examples"])
    published = folder_of(voxfactory("publish", evaluation, "--name", "asterisk", "--licence", "cc-by-sa-3.0", "--anyway"))
    card = (published / "repository" / "README.md").read_text()
    assert "license: cc-by-sa-3.0" in card
    assert "local/asterisk" in card
