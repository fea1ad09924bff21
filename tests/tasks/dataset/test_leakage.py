"""A leakage report finds what is planted in datasets made elsewhere, and nothing in ours."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from deployments.dataset import app
from tasks.contracts import DatasetVersion
from tasks.dataset.leakage import find_leaks
from tests.builders.speech import voice

pytestmark = pytest.mark.fast


def manifest(folder: Path, rows: list[tuple[str, str, str, np.ndarray]], name: str = "data.jsonl") -> Path:
    """Rows of (split, speaker, text, samples)."""
    folder.mkdir(exist_ok=True)
    lines = []
    for number, (split, speaker, text, samples) in enumerate(rows):
        clip = f"{name.partition('.')[0]}-{number}.wav"
        soundfile.write(folder / clip, samples, 16_000)
        lines.append(json.dumps({"audio": clip, "text": text, "speaker": speaker, "split": split, "language": "de"}))
    (folder / name).write_text("\n".join(lines))
    return folder


def one_of(number: int) -> np.ndarray:
    return voice(60 * number, 2.0)


def test_what_stands_on_two_sides_is_told(tmp_path: Path):
    rows = [
        ("train", "anna", "Eins", one_of(0)),
        ("train", "bert", "Zwei", one_of(1)),
        ("train", "bert", "Drei", one_of(2)),
        ("test", "anna", "Vier", one_of(3)),
        ("test", "carl", "zwei!", one_of(4)),
        ("test", "carl", "Fünf", one_of(2)[1_000:] / 3),
        ("test", "carl", "Sechs", one_of(0)),
    ]
    report = find_leaks([manifest(tmp_path / "theirs", rows)], 1)
    assert report.sides == {"theirs train": 3, "theirs test": 4}
    assert {(leak.kind, leak.number, leak.examples) for leak in report.leaks} == {
        ("speakers", 1, ("anna",)),
        ("prompts", 1, ("de zwei",)),
        ("equal recordings", 1, ("data.jsonl:7 data-6.wav",)),
        ("nearly equal recordings", 1, ("data.jsonl:6 data-5.wav",)),
    }
    told = CliRunner().invoke(app, ["leakage", str(tmp_path / "theirs")])
    assert told.exit_code == 3
    assert "theirs train and theirs test share 1 speakers: anna" in told.stdout


def test_two_datasets_are_compared_with_each_other_and_sides_may_be_files(tmp_path: Path):
    here = manifest(tmp_path / "here", [("", "anna", "Eins", one_of(0)), ("", "anna", "Zwei", one_of(1))], "train.jsonl")
    manifest(here, [("", "bert", "Drei", one_of(2))], "test.jsonl")
    there = manifest(tmp_path / "there", [("", "carl", "Neun", one_of(2) / 2)])
    report = find_leaks([here, there], 1)
    assert report.sides == {"here test": 1, "here train": 2, "there": 1}
    assert [(leak.one, leak.other, leak.kind) for leak in report.leaks] == [("here test", "there", "nearly equal recordings")]


def test_what_we_divided_does_not_leak(digits: DatasetVersion, tmp_path: Path):
    told = CliRunner().invoke(app, ["leakage", str(digits.folder)])
    assert (told.exit_code, told.stdout.splitlines()[-1]) == (0, "Nothing leaks")


def test_a_recording_that_cannot_be_read_is_counted(tmp_path: Path):
    folder = manifest(tmp_path / "theirs", [("train", "a", "Eins", one_of(0)), ("test", "b", "Zwei", one_of(1))])
    (folder / "data-0.wav").write_bytes(b"RIFF")
    assert find_leaks([folder], 1).unread == 1
