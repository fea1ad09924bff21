from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import psutil
import pytest

from infra.errors import WorkerLost
from tasks.speech.spoken_digits import digit_lines, write_corpus
from tasks.speech.synthesis import Voice, synthesise

pytestmark = pytest.mark.fast


def test_equal_lines_give_equal_samples_whatever_the_processes_and_what_was_said_before(tmp_path: Path):
    lines = digit_lines("de", 110, Path(), seed=1, voices=("f2", "klatt", "whisper", "m1"))
    first = write_corpus(lines, tmp_path / "first", processes=1)
    synthesise("something else", "en", Voice("f2"))
    second = write_corpus(lines, tmp_path / "second", processes=2)
    names = sorted(path.name for path in first.iterdir())
    assert len(names) == 111
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_a_killed_process_is_told_and_leaves_no_half_corpus(tmp_path: Path):
    lines = digit_lines("en", 250, Path(), seed=1)
    killed = Event()

    def kill() -> None:
        while not killed.is_set():
            for child in psutil.Process().children():
                if "popen_loky" in " ".join(child.cmdline()) and list(tmp_path.glob(".corpus*/*.wav")):
                    child.kill()
                    killed.set()

    with ThreadPoolExecutor(1) as other:
        other.submit(kill)
        with pytest.raises(WorkerLost, match="was killed"):
            write_corpus(lines, tmp_path / "corpus", processes=1)
    assert killed.is_set()
    assert not list(tmp_path.iterdir())


def test_no_two_clips_of_a_language_say_the_same():
    lines = digit_lines("nl", 500, Path(), seed=2)
    assert len({line.text for line in lines}) == 500
