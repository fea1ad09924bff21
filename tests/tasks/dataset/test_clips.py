"""A clip is taken in once; a kill at any moment costs time and nothing else."""

import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from infra import progress
from infra.progress import Progress
from tasks.contracts import DatasetVersion, Refusal
from tasks.dataset import clips, shards, version
from tasks.dataset.clips import ClipStore, Refused
from tasks.dataset.home import Memory
from tasks.dataset.ingest import IngestOptions, ingest
from tasks.dataset.speakers import Pseudonyms
from tasks.dataset.version import read_utterances
from tests.builders.speech import digit_corpus, write_voices

pytestmark = pytest.mark.fast
GERMAN = IngestOptions(language="de", eval_share=0.3)


@pytest.fixture
def taken_in(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were decoded."""
    names: list[str] = []
    take_in = shards.take_in

    def counted(brought, checks):
        names.extend(one.audio_path.name for one in brought)
        return take_in(brought, checks)

    monkeypatch.setattr(shards, "take_in", counted)
    return names


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def ingested(source: Path, folder: Path, store: Path | None) -> DatasetVersion:
    return ingest(source, "x", GERMAN, folder, 1, Memory(ClipStore(store)) if store else None)


def test_adding_clips_takes_in_those_and_no_others(tmp_path: Path, taken_in: list[str]):
    source = write_voices(tmp_path / "source", 20)
    (source / "noise.wav").write_bytes(b"RIFF")
    (source / "noise.txt").write_text("nichts")
    ingested(source, tmp_path / "first", tmp_path / "store")
    assert len(taken_in) == 21
    taken_in.clear()
    write_voices(source, 3, first=20)
    said: list[Progress] = []
    with progress.listening(said.append):
        grown = ingested(source, tmp_path / "second", tmp_path / "store")
    assert sorted(taken_in) == ["20.wav", "21.wav", "22.wav"]
    assert "21 known already, 1 refused" in [one.note for one in said], "refusals are known, too"
    assert content(grown.folder) == content(ingested(source, tmp_path / "anew", None).folder), (
        "and it is what it would be without"
    )


def test_what_the_version_before_holds_is_taken_over_as_it_would_be_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = tmp_path / "source"
    write_voices(source / "anna", 12)
    write_voices(source / "bert", 12, first=12)
    shutil.copy(source / "anna" / "0.wav", source / "bert" / "twin.wav")
    (source / "bert" / "twin.txt").write_text("Etwas anderes")
    memory = Memory(ClipStore(tmp_path / "store"), Pseudonyms(b"key"))
    first = ingest(source, "x", GERMAN, tmp_path / "first", 1, memory)
    assert sum("same recording" in one.warned_of for one in read_utterances(first)) == 1
    (source / "anna" / "0.wav").unlink()
    (source / "carl").mkdir()
    for name in ("1.wav", "1.txt"):
        (source / "anna" / name).rename(source / "carl" / name)
    write_voices(source / "bert", 3, first=24)
    looked_up: list[str] = []
    find = ClipStore.find
    monkeypatch.setattr(ClipStore, "find", lambda store, keys: find(store, looked_up.extend(keys) or looked_up))
    grown = ingest(source, "x", GERMAN, tmp_path / "second", 1, memory, first)
    assert len(looked_up) == 3, "what is new, and nothing else"
    (first.folder / ".made").unlink()
    anew = ingest(source, "x", GERMAN, tmp_path / "anew", 1, Memory(ClipStore(tmp_path / "other"), Pseudonyms(b"key")), first)
    assert content(grown.folder) == content(anew.folder)
    told = {one.source.split("/")[-1]: one for one in read_utterances(grown)}
    assert "same recording" not in told["twin.wav"].warned_of, "its twin is gone"
    assert told["1.wav"].speaker == Pseudonyms(b"key").of("carl")


def test_what_is_asked_of_most_of_a_table_is_answered_as_what_is_asked_of_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store, every = ClipStore(tmp_path), {f"key {number}": Refused(reason="a reason", kind=Refusal.OTHER) for number in range(20)}
    store.remember(every, {})
    asked = ["key 3", "unknown", *(f"key {number}" for number in range(10, 20))]
    one_by_one = store.find(asked)
    monkeypatch.setattr(clips, "_MANY", 0)
    questions: list[str] = []
    connect = sqlite3.connect

    def listened(*given: object, **named: object) -> sqlite3.Connection:
        connection = connect(*given, **named)
        connection.set_trace_callback(questions.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", listened)
    assert store.find(asked) == one_by_one == {key: every[key] for key in asked if key in every}
    assert not any("WHERE key IN" in question for question in questions)


def test_a_print_of_another_version_is_replaced_and_compared_again(tmp_path: Path):
    store, old, new = ClipStore(tmp_path), np.arange(1, 9, dtype=np.uint32), np.arange(2, 9, dtype=np.uint32)
    for print_, to_compare in ((old, 1), (old, 0), (new, 1)):
        store.remember({}, {"sound": print_})
        assert len(store.prints_to_compare(10)) == to_compare
        store.remember_near([], ["sound"])
    assert np.array_equal(store.prints_of(["sound"])["sound"], new)


def test_a_changed_file_a_changed_text_and_other_checks_are_taken_in_again(tmp_path: Path, taken_in: list[str]):
    source = write_voices(tmp_path / "source", 4)
    ingested(source, tmp_path / "first", tmp_path / "store")
    taken_in.clear()
    shutil.copy(source / "3.wav", source / "0.wav")
    (source / "1.txt").write_text("etwas anderes")
    ingested(source, tmp_path / "second", tmp_path / "store")
    assert sorted(taken_in) == ["0.wav", "1.wav"]
    taken_in.clear()
    strict = GERMAN.model_copy(update={"checks": GERMAN.checks.model_copy(update={"shortest_s": 0.4})})
    ingest(source, "x", strict, tmp_path / "third", 1, Memory(ClipStore(tmp_path / "store")))
    assert len(taken_in) == 4


def test_a_version_is_whole_without_the_store_and_shares_its_bytes(tmp_path: Path):
    made = ingested(write_voices(tmp_path / "source", 4), tmp_path / "version", tmp_path / "store")
    stored = {path.stat().st_ino for path in (tmp_path / "store").rglob("*.wav")}
    assert {path.stat().st_ino for path in (made.folder / "wavs").iterdir()} == stored
    shutil.rmtree(tmp_path / "store")
    assert all((made.folder / utterance.audio_path).is_file() for utterance in read_utterances(made))


def test_a_disk_without_links_gets_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    made = ingested(write_voices(tmp_path / "source", 4), tmp_path / "version", tmp_path / "store")
    assert content(made.folder) == content(ingested(tmp_path / "source", tmp_path / "other", None).folder)


def test_a_clip_that_was_cut_short_in_the_store_is_taken_in_again(tmp_path: Path, taken_in: list[str]):
    source = write_voices(tmp_path / "source", 4)
    before = content(ingested(source, tmp_path / "first", tmp_path / "store").folder)
    taken_in.clear()
    shutil.rmtree(tmp_path / "first")
    damaged = next((tmp_path / "store").rglob("*.wav"))
    damaged.chmod(0o644)
    damaged.unlink()
    assert content(ingested(source, tmp_path / "second", tmp_path / "store").folder) == before
    assert len(taken_in) == 1


def test_a_file_that_changes_while_it_is_read_is_refused_and_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = write_voices(tmp_path / "source", 4)
    take_in = shards.take_in

    def meanwhile(brought, checks):
        shutil.copy(source / "1.wav", source / "0.wav")
        return take_in(brought, checks)

    with monkeypatch.context() as patched:
        patched.setattr(shards, "take_in", meanwhile)
        made = ingested(source, tmp_path / "first", tmp_path / "store")
    assert "changed while it was read" in (made.folder / "rejected.jsonl").read_text()
    assert ingested(source, tmp_path / "second", tmp_path / "store").rejected == 0


def test_hashes_of_files_are_read_again_only_when_they_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, store = tmp_path / "clip.wav", ClipStore(tmp_path / "store")
    path.write_bytes(b"one")
    monkeypatch.setattr(clips, "_SETTLED_NS", 0)
    first = store.file_hashes([path])
    reads: list[Path] = []
    monkeypatch.setattr(clips, "file_hash", lambda file: reads.append(file) or "read")
    assert (store.file_hashes([path]), reads) == (first, [])
    path.write_bytes(b"two")
    os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
    assert (store.file_hashes([path]), len(reads)) == (["read"], 1)


@pytest.mark.parametrize(
    ("place", "name", "call"),
    [
        (clips, "write_bytes", 3),
        (clips.ClipStore, "remember", 1),
        (clips.ClipStore, "remember", 2),
        (clips.ClipStore, "lend", 7),
        (version, "write_text", 2),
        (version, "write_json", 1),
    ],
)
def test_killed_anywhere_and_started_again_it_is_the_same_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: object, name: str, call: int
):
    monkeypatch.setattr(shards, "_SHARD_CLIPS", 5)
    source = digit_corpus(tmp_path / "source", clips=12)
    child = os.fork()
    if child == 0:
        setattr(place, name, _deadly(getattr(place, name), call))
        ingested(source, tmp_path / "version", tmp_path / "store")
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert not (tmp_path / "version").exists(), "nothing half-written is visible"
    again = ingested(source, tmp_path / "version", tmp_path / "store")
    assert content(again.folder) == content(ingested(source, tmp_path / "straight", None).folder)


def _deadly(function: Callable[..., object], call: int) -> Callable[..., object]:
    calls = iter(range(1, call + 1))

    def counted(*given: object, **named: object) -> object:
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*given, **named)

    return counted
