"""What a user does wrong is told in one line, with an exit code, and leaves nothing half-written."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.speech import REAL_SPEECH, digit_corpus
from tests.end_to_end.conftest import Command, environment, hear_interrupts


def told(done: "subprocess.CompletedProcess[str]") -> str:
    """The one line of an error."""
    assert done.returncode not in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("voxfactory: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ingest", REAL_SPEECH, "--language", "english"], "'english' is not a language code that Voxtral knows. Write 'en'"),
        (["ingest", REAL_SPEECH / "nowhere", "--language", "en"], "nowhere does not exist"),
        (["train", REAL_SPEECH], "is no dataset version"),
        (["run", REAL_SPEECH, "--language", "en", "--method", "magic"], "method: Input should be 'lora' or 'full'"),
        (["run", REAL_SPEECH, "--language", "en", "--repository", "../x"], "name: String should match pattern"),
        (["publish", REAL_SPEECH], "holds no report.json"),
        (["space", REAL_SPEECH], "holds no staged.json"),
    ],
)
def test_wrong_arguments(voxfactory: Command, arguments: list[object], message: str):
    assert message in told(voxfactory(*arguments))


def test_a_checkpoint_that_is_no_voxtral(voxfactory: Command, workplace: Path):
    (workplace / "whisper").mkdir()
    (workplace / "whisper" / "config.json").write_text('{"model_type": "whisper"}')
    done = voxfactory("run", REAL_SPEECH, "--language", "en", "--base", workplace / "whisper")
    assert "is a whisper model, not a Voxtral" in told(done)


def test_one_utterance_only(voxfactory: Command, workplace: Path):
    source = digit_corpus(workplace / "one", clips=1)
    home = workplace / "one-home"
    assert "1 usable utterance cannot be divided" in told(voxfactory("ingest", source, home=home))
    assert list((home / "datasets").iterdir()) == []


def test_a_home_that_cannot_be_written(voxfactory: Command, workplace: Path):
    (workplace / "occupied").write_text("")
    done = voxfactory("ingest", REAL_SPEECH, "--language", "en", home=workplace / "occupied")
    assert "Set VOXFACTORY_HOME" in told(done)


def test_a_full_disk(workplace: Path, server: str):
    """The command may write 100 kB a file: the same error path as a full disk, without filling one."""
    limited = f"ulimit -f 100; exec {sys.executable} -m deployments.cli ingest {REAL_SPEECH} --language en"
    home = workplace / "full-home"
    done = subprocess.run(
        ["bash", "-c", limited], env=environment(home, server), capture_output=True, text=True, timeout=120, check=False
    )
    assert "is full. Free some space" in told(done)
    assert not list((home / "datasets").glob("[!.]*"))


def test_a_configured_server_that_does_not_answer(voxfactory: Command):
    done = voxfactory("ingest", REAL_SPEECH, "--language", "en", api="http://192.0.2.1:9/api")
    assert "No Prefect server answers at http://192.0.2.1:9/api" in told(done)


def test_ctrl_c_in_training_writes_a_checkpoint_and_the_same_command_goes_on(voxfactory: Command, workplace: Path, server: str):
    source = digit_corpus(workplace / "digits", clips=40)
    dataset = voxfactory("ingest", source).stdout.strip().splitlines()[-1]
    arguments = ["train", dataset, "--method", "full", "--epochs", "6", "--batch-size", "4"]
    process = subprocess.Popen(
        [sys.executable, "-m", "deployments.cli", *arguments],
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
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted. What was finished is kept" in errors
    assert "Traceback" not in errors
    (run,) = (workplace / "home" / "runs").glob("[!.]*")
    assert list(run.glob("checkpoint-*/complete"))
    assert not (run / "final-model").exists()
    again = voxfactory(*arguments)
    assert again.returncode == 0, again.stderr[-3000:]
    first_shown = next(line for line in again.stderr.splitlines() if line.startswith("train: "))
    assert not first_shown.startswith("train: 1/")
    assert (run / "final-model" / "model.safetensors").is_file()
