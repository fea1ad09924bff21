"""Speech for tests: synthetic digits, real recordings, and plain tones where only the sound matters."""

import json
from pathlib import Path

import numpy as np
import soundfile

from tasks.contracts import DatasetVersion
from tasks.dataset.ingest import IngestOptions, ingest
from tasks.speech.spoken_digits import digit_lines
from tasks.speech.synthesis import synthesise

REAL_SPEECH = Path(__file__).parents[1] / "data" / "asterisk-en"


def tone(seconds: float = 1.0, sample_rate_hz: int = 16_000, hz: float = 440.0, level: float = 0.3) -> np.ndarray:
    """float32 of shape (n,)."""
    time_s = np.arange(int(seconds * sample_rate_hz)) / sample_rate_hz
    return (level * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)


def digit_corpus(folder: Path, language: str = "de", clips: int = 24, voices: tuple[str, ...] = ("f1", "m1", "f2", "m3")) -> Path:
    """A source folder of synthesised digits with a manifest that names speakers."""
    folder.mkdir(parents=True)
    rows = []
    for line in digit_lines(language, clips, folder, seed=3, voices=voices):
        samples, sample_rate_hz = synthesise(line.text, line.language, line.voice)
        soundfile.write(line.path, samples, sample_rate_hz)
        rows.append({"audio_filepath": line.path.name, "text": line.text, "language": language, "speaker": line.voice.variant})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def digit_version(folder: Path, language: str = "de", clips: int = 24) -> DatasetVersion:
    """A dataset version of synthesised digits."""
    source = digit_corpus(folder / f"source-{language}", language, clips)
    return ingest(source, f"digits-{language}", IngestOptions(eval_share=0.3), folder / f"version-{language}", processes=1)
