"""Speech for tests: synthetic digits, real recordings, and plain tones where only the sound matters."""

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tasks.contracts import SAMPLE_RATE_HZ, DatasetVersion
from tasks.dataset.clips import ClipStore
from tasks.dataset.ingest import IngestOptions, ingest
from tasks.dataset.sources import source_hash
from tasks.speech.audio import read_clip, to_float32
from tasks.speech.spoken_digits import digit_lines, write_corpus

REAL_SPEECH = Path(__file__).parents[1] / "data" / "asterisk-en"
_FOUR_VOICES = ("f1", "m1", "f2", "m3")
_RADIO_WORDS = {"three": "tree", "four": "fower", "five": "fife", "nine": "niner"}


def tone(seconds: float = 1.0, sample_rate_hz: int = 16_000, hz: float = 440.0, level: float = 0.3) -> np.ndarray:
    """float32 of shape (n,)."""
    time_s = np.arange(int(seconds * sample_rate_hz)) / sample_rate_hz
    return (level * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)


def voice(number: int, seconds: float = 0.5) -> np.ndarray:
    """A piece of real speech, another one for each number: float32 of shape (n,), 16 kHz."""
    first = number * SAMPLE_RATE_HZ // 20
    return np.roll(_all_that_is_said(), -first)[: round(seconds * SAMPLE_RATE_HZ)]


@lru_cache(maxsize=1)
def _all_that_is_said() -> np.ndarray:
    """The real recordings one after the other, without what is silent in them."""
    samples = to_float32(np.concatenate([read_clip(path) for path in sorted(REAL_SPEECH.glob("*.wav"))]))
    frames = samples[: len(samples) // 512 * 512].reshape(-1, 512)
    return frames[np.square(frames).mean(axis=1) > 1e-3].reshape(-1)


def digit_corpus(folder: Path, language: str = "de", clips: int = 24, voices: tuple[str, ...] = _FOUR_VOICES) -> Path:
    """A source folder of synthesised digits with a manifest that names speakers."""
    return write_corpus(digit_lines(language, clips, Path(), seed=3, voices=voices), folder, processes=1)


def radio_corpus(folder: Path, clips: int, seed: int = 3) -> Path:
    """English digits written as radio operators write them: quickly learned by a model that knows the common words."""
    lines = digit_lines("en", clips, Path(), seed, voices=_FOUR_VOICES)
    written = write_corpus(lines, folder, processes=1) / "manifest.jsonl"
    text = written.read_text(encoding="utf-8")
    for word, radio_word in _RADIO_WORDS.items():
        text = text.replace(word, radio_word)
    written.write_text(text, encoding="utf-8")
    return folder


def digit_version(folder: Path, language: str = "de", clips: int = 24) -> DatasetVersion:
    """A dataset version of synthesised digits."""
    source = digit_corpus(folder / f"source-{language}", language, clips)
    return ingest(source, f"digits-{language}", IngestOptions(eval_share=0.3), folder / f"version-{language}", processes=1)


def content_of(source: Path) -> str:
    """The hash of a source, every file of which is read."""
    with TemporaryDirectory() as folder:
        return source_hash(source, ClipStore(Path(folder)).file_hashes)


def write_voices(folder: Path, count: int, first: int = 0) -> Path:
    """Clips of half a second with a text file each, no two alike; returns the folder."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        soundfile.write(folder / f"{number}.wav", voice(number), 16_000)
        (folder / f"{number}.txt").write_text(f"Ton {number}")
    return folder
