"""Speech for tests: synthetic digits, real recordings, and plain tones where only the sound matters."""

from pathlib import Path

import numpy as np

from tasks.contracts import DatasetVersion
from tasks.dataset.ingest import IngestOptions, ingest
from tasks.speech.spoken_digits import digit_lines, write_corpus

REAL_SPEECH = Path(__file__).parents[1] / "data" / "asterisk-en"


def tone(seconds: float = 1.0, sample_rate_hz: int = 16_000, hz: float = 440.0, level: float = 0.3) -> np.ndarray:
    """float32 of shape (n,)."""
    time_s = np.arange(int(seconds * sample_rate_hz)) / sample_rate_hz
    return (level * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)


def digit_corpus(folder: Path, language: str = "de", clips: int = 24, voices: tuple[str, ...] = ("f1", "m1", "f2", "m3")) -> Path:
    """A source folder of synthesised digits with a manifest that names speakers."""
    return write_corpus(digit_lines(language, clips, Path(), seed=3, voices=voices), folder, processes=1)


def digit_version(folder: Path, language: str = "de", clips: int = 24) -> DatasetVersion:
    """A dataset version of synthesised digits."""
    source = digit_corpus(folder / f"source-{language}", language, clips)
    return ingest(source, f"digits-{language}", IngestOptions(eval_share=0.3), folder / f"version-{language}", processes=1)
