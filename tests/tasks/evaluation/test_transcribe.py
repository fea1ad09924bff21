"""Transcribing a dataset: by several processes, never twice, and on from where it was interrupted."""

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from infra.errors import WorkerLost
from infra.settings import settings
from tasks.contracts import Checkpoint, DatasetVersion, Split
from tasks.dataset.version import read_utterances
from tasks.evaluation import hearing, transcribe
from tasks.evaluation.hearing import Clip, hear_batches
from tasks.evaluation.transcribe import Hypothesis, read_hypotheses, transcribe_dataset, transcription_address
from tasks.voxtral.decoding import Heard

_BATCH = 2


@pytest.fixture
def two_processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("VOXFACTORY_TRANSCRIPTION_PROCESSES", "2")
    settings.cache_clear()
    yield
    settings.cache_clear()


class Counted:
    """`hear_batches`, with the clips that were asked about; it breaks off before a batch if told so."""

    def __init__(self, breaks_before: int | None = None) -> None:
        self.clips: list[Path] = []
        self._breaks_before = breaks_before

    def __call__(self, checkpoint: Checkpoint, batches: Sequence[Sequence[Clip]]) -> Iterator[list[Heard]]:
        for number, (batch, heard) in enumerate(zip(batches, hear_batches(checkpoint, batches), strict=True)):
            if number == self._breaks_before:
                raise KeyboardInterrupt
            self.clips += [clip.path for clip in batch]
            yield heard


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, tiny: Checkpoint, digits: DatasetVersion) -> dict[str, Hypothesis]:
    """What one process hears, at once."""
    return read_hypotheses(transcribe_dataset(tiny, digits, tmp_path_factory.mktemp("alone") / "heard", _BATCH, "digits"))


def test_two_processes_hear_what_one_does(
    two_processes: None,
    tmp_path: Path,
    tiny: Checkpoint,
    digits: DatasetVersion,
    alone: dict[str, Hypothesis],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.delattr(hearing, "Transcriber")  # here, not in the processes
    heard = read_hypotheses(transcribe_dataset(tiny, digits, tmp_path / "heard", _BATCH, "digits"))
    assert heard == alone
    assert list(heard) == [one.id for one in read_utterances(digits, Split.EVAL)]
    assert any(one.text for one in heard.values())


def _die(checkpoint: Checkpoint, batch: Sequence[Clip]) -> list[Heard]:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def test_a_process_that_is_killed_is_told_of(
    two_processes: None, tmp_path: Path, tiny: Checkpoint, digits: DatasetVersion, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(hearing, "_hear_there", _die)
    with pytest.raises(WorkerLost, match=r"was killed.*VOXFACTORY_TRANSCRIPTION_PROCESSES"):
        transcribe_dataset(tiny, digits, tmp_path / "heard", _BATCH, "digits")


def test_a_recording_is_heard_once_whatever_dataset_it_stands_in(
    tmp_path: Path, tiny: Checkpoint, digits: DatasetVersion, alone: dict[str, Hypothesis], monkeypatch: pytest.MonkeyPatch
):
    address = transcription_address(tiny, digits, _BATCH)
    transcribe_dataset(tiny, digits, tmp_path / address, _BATCH, "digits")
    asked = Counted()
    monkeypatch.setattr(transcribe, "hear_batches", asked)
    everything = read_hypotheses(transcribe_dataset(tiny, digits, tmp_path / f"{address}-all", _BATCH, "digits", None))
    utterances = {one.id: one for one in read_utterances(digits)}
    assert {name: one for name, one in everything.items() if name in alone} == alone
    trained = [digits.folder / one.audio_path for one in utterances.values() if one.split is not Split.EVAL]
    assert sorted(asked.clips) == sorted(trained)
    other = tiny.model_copy(update={"revision": "another"})
    transcribe_dataset(other, digits, tmp_path / transcription_address(other, digits, _BATCH), _BATCH, "digits")
    assert len(asked.clips) == len(utterances), "what one model heard is not what another hears"


def test_parts_that_another_run_has_put_together_meanwhile_do_not_matter(
    tmp_path: Path, tiny: Checkpoint, digits: DatasetVersion, alone: dict[str, Hypothesis]
):
    address = transcription_address(tiny, digits, _BATCH)
    (tmp_path / f"{address}-all").mkdir()
    (tmp_path / f"{address}-all" / "part-gone.jsonl").symlink_to(tmp_path / "gone")  # is listed, and cannot be opened
    assert read_hypotheses(transcribe_dataset(tiny, digits, tmp_path / address, _BATCH, "digits")) == alone


def test_a_transcription_that_was_interrupted_goes_on(
    tmp_path: Path, tiny: Checkpoint, digits: DatasetVersion, alone: dict[str, Hypothesis], monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / transcription_address(tiny, digits, _BATCH)
    first, second = Counted(breaks_before=1), Counted()
    monkeypatch.setattr(transcribe, "hear_batches", first)
    with pytest.raises(KeyboardInterrupt):
        transcribe_dataset(tiny, digits, folder, _BATCH, "digits")
    assert not (folder / "hypotheses.jsonl").exists()
    monkeypatch.setattr(transcribe, "hear_batches", second)
    assert read_hypotheses(transcribe_dataset(tiny, digits, folder, _BATCH, "digits")) == alone
    assert len(first.clips) == _BATCH
    assert len(first.clips) + len(second.clips) == len(alone)
    assert [path.name for path in folder.iterdir()] == ["hypotheses.jsonl"]
