"""What a user does wrong is told in one line, with an exit code, and leaves nothing half-written.

Ctrl-C in training is in test_real_speech.py, a disk that training fills in tests/tasks/training/test_full_disk.py.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from tasks.contracts import DatasetVersion
from tests.builders.speech import REAL_SPEECH, voice
from tests.end_to_end.conftest import Command, environment


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


def test_a_checkpoint_that_is_no_voxtral(voxfactory: Command, digits: DatasetVersion, workplace: Path):
    (workplace / "whisper").mkdir()
    (workplace / "whisper" / "config.json").write_text('{"model_type": "whisper"}')
    done = voxfactory("train", digits.folder, "--base", workplace / "whisper")
    assert "is a whisper model, not a Voxtral" in told(done)


@pytest.mark.parametrize(
    ("transcripts", "message"),
    [
        (("eins",), "1 usable utterance cannot be divided"),
        ((None, None), "holds no usable utterance (2 refused, for example: has no transcript: 0.txt is not beside it)"),
        (("(laughs)", "(laughs)"), "holds no usable utterance (2 refused: The transcript '(laughs)' has no word in it)"),
    ],
)
def test_too_little_speech(voxfactory: Command, tmp_path: Path, transcripts: tuple[str | None, ...], message: str):
    source, home = tmp_path / "source", tmp_path / "home"
    source.mkdir()
    for number, transcript in enumerate(transcripts):
        soundfile.write(source / f"{number}.wav", voice(number), 16_000)
        if transcript:
            (source / f"{number}.txt").write_text(transcript)
    assert message in told(voxfactory("ingest", source, "--language", "de", home=home))
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
