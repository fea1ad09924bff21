"""Near duplicates are kept once, found in any order, and never stand on two sides."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tasks.contracts import DatasetVersion, Split
from tasks.dataset.clips import ClipStore
from tasks.dataset.duplicates import compare_new, groups_of, near_pairs
from tasks.dataset.home import Memory
from tasks.dataset.ingest import IngestOptions, ingest
from tasks.dataset.version import read_rejects, read_utterances
from tests.builders.speech import voice

pytestmark = pytest.mark.fast
GERMAN = IngestOptions(language="de", eval_share=0.3)


def write(folder: Path, name: str, samples: np.ndarray, text: str, suffix: str = ".wav") -> None:
    folder.mkdir(exist_ok=True)
    soundfile.write(folder / f"{name}{suffix}", samples, 16_000)
    (folder / f"{name}.txt").write_text(text)


def ingested(tmp_path: Path, name: str, parent: DatasetVersion | None = None) -> DatasetVersion:
    return ingest(tmp_path / "source", "x", GERMAN, tmp_path / name, 1, Memory(ClipStore(tmp_path / "store")), parent)


def one_of(number: int) -> np.ndarray:
    return voice(60 * number, 2.0)


def test_one_of_those_that_sound_and_say_the_same_is_kept(tmp_path: Path):
    source = tmp_path / "source"
    for number in range(4):
        write(source, f"{number}", one_of(number), f"Text {number}")
    write(source, "again", one_of(2)[2_000:] / 4, "text 2!", suffix=".ogg")
    made = ingested(tmp_path, "version")
    assert [one.source for one in read_utterances(made)] == ["0.wav", "1.wav", "2.wav", "3.wav"]
    (refused,) = read_rejects(made)
    assert (refused.origin, refused.kind) == ("again.ogg", "equal to another utterance")
    assert refused.reason == "Nearly equal in sound, and equal in words, to 2.wav"
    assert len(list((made.folder / "wavs").iterdir())) == 4


def test_what_the_version_before_kept_is_kept_though_its_like_comes_first_now(tmp_path: Path):
    for number in range(4):
        write(tmp_path / "source", f"b{number}", one_of(number), f"Text {number}")
    first = ingested(tmp_path, "first")
    write(tmp_path / "source", "a", one_of(2) / 2, "Text 2")
    second = ingested(tmp_path, "second", first)
    assert {one.id for one in read_utterances(second)} == {one.id for one in read_utterances(first)}
    assert [one.origin for one in read_rejects(second)] == ["a.wav"]


def test_with_another_text_it_is_kept_with_a_warning_and_on_no_other_side(tmp_path: Path):
    for number in range(6):
        write(tmp_path / "source", f"{number}", one_of(number), f"Text {number}")
        write(tmp_path / "source", f"{number}x", one_of(number) / 3, f"Etwas anderes {number}")
    made = read_utterances(ingested(tmp_path, "version"))
    assert len(made) == 12
    for number in range(6):
        one, other = (next(u for u in made if u.source == name) for name in (f"{number}.wav", f"{number}x.wav"))
        assert {one.split, other.split} != {Split.TRAIN, Split.EVAL}
        assert f"same recording: it sounds like {number}.wav, where something else is said" in other.warnings


def test_what_comes_later_is_compared_with_what_was_there(tmp_path: Path):
    store = ClipStore(tmp_path / "store")
    draw = np.random.default_rng(1)
    prints = {f"{n}": draw.integers(1, 2**32, 200, dtype=np.uint32) for n in range(30)}
    store.remember({}, prints)
    compare_new(store)
    assert store.near_pairs() == []
    store.remember({}, {"cut": prints["7"][20:], "other": draw.integers(1, 2**32, 200, dtype=np.uint32)})
    compare_new(store)
    assert store.near_pairs() == [("7", "cut")]
    assert not store.prints_to_compare(1)
    assert groups_of([*store.near_pairs(), ("cut", "more")]) == {"7": "7", "cut": "7", "more": "7"}


def test_a_sound_that_is_in_every_clip_does_not_make_them_one(tmp_path: Path):
    draw = np.random.default_rng(2)
    jingle = draw.integers(1, 2**32, 100, dtype=np.uint32)
    prints = {f"{n}": np.concatenate([jingle, draw.integers(1, 2**32, 150, dtype=np.uint32)]) for n in range(40)}
    assert list(near_pairs(prints)) == []
