"""Clips a second of ingestion, and of its decoding alone, against the plain loop of librosa and soundfile.

The same files for all, 3 to 15 s of real speech each: half of them WAV of 48 kHz in stereo, half MP3. The plain loop loads each with
`librosa.load(sr=16000)`, writes it with `soundfile.write` and adds a line of JSON. Ingestion has two processes, whose start counts.
"""

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from infra.processes import worker_pool
from tasks.contracts import SAMPLE_RATE_HZ
from tasks.dataset.ingest import IngestOptions, ingest
from tasks.speech.audio import duration_s, read_clip, to_float32, write_clip
from tests.builders.speech import REAL_SPEECH

CLIPS = 2_000
_PROCESSES = 2
_RATE_HZ = 48_000
_SHORTEST_S, _LONGEST_S = 3.0, 15.0
_SHARD = 50


def measure() -> dict[str, float]:
    """Clips a second of the plain loop, and how many times as many ours are."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        source = write_source(folder / "source")
        plain_s = _timed(lambda: plain_loop(source, folder / "plain"))
        decoded_s = _timed(lambda: decoded(source, folder / "decoded"))
        checked_s = _timed(lambda: ingest(source, "speed", IngestOptions(language="en"), folder / "version", _PROCESSES))
    return {
        "clips": CLIPS,
        "plain_clips_per_s": round(CLIPS / plain_s, 1),
        "speedup_checked": round(plain_s / checked_s, 2),
        "speedup_plain": round(plain_s / decoded_s, 2),
    }


def write_source(folder: Path) -> Path:
    """Real prompts one after the other, each time a little slower or faster, with their texts."""
    import soundfile
    import soxr

    folder.mkdir(parents=True)
    chance = random.Random(0)
    prompts = [(to_float32(read_clip(path)), path.with_suffix(".txt").read_text()) for path in sorted(REAL_SPEECH.glob("*.wav"))]
    lines = []
    for number in range(CLIPS):
        wanted = chance.uniform(_SHORTEST_S, _LONGEST_S) * _RATE_HZ
        said: list[tuple[np.ndarray, str]] = []
        while sum(len(samples) for samples, _ in said) < wanted:
            samples, text = chance.choice(prompts)
            speed = chance.uniform(0.85, 1.15)  # no two of them sound alike
            said.append((soxr.resample(samples, SAMPLE_RATE_HZ * speed, _RATE_HZ), text.strip()))
        mono = np.concatenate([samples for samples, _ in said])[: round(_LONGEST_S * _RATE_HZ)]
        name = f"{number:04d}.{'wav' if number % 2 else 'mp3'}"
        soundfile.write(folder / name, np.stack([mono, 0.7 * mono], axis=1), _RATE_HZ)
        lines.append(json.dumps({"audio_path": name, "text": " ".join(text for _, text in said)}))
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    return folder


def plain_loop(source: Path, folder: Path) -> None:
    """As it is usually written."""
    import librosa
    import soundfile

    folder.mkdir()
    with (folder / "data.jsonl").open("w") as manifest:
        for row in _rows(source):
            samples, rate_hz = librosa.load(source / row["audio_path"], sr=SAMPLE_RATE_HZ)
            path = folder / f"{Path(row['audio_path']).stem}.wav"
            soundfile.write(path, samples, rate_hz)
            manifest.write(json.dumps(row | {"audio_path": str(path), "duration": len(samples) / rate_hz}) + "\n")


def decoded(source: Path, folder: Path) -> None:
    """The same work by our own decoding, in processes."""
    folder.mkdir()
    rows = _rows(source)
    shards = [(source, folder, rows[start : start + _SHARD]) for start in range(0, len(rows), _SHARD)]
    with worker_pool(_PROCESSES, {"OPENBLAS_NUM_THREADS": "1"}) as pool, (folder / "data.jsonl").open("w") as manifest:
        for lines in pool.map(_decoded_shard, shards):
            manifest.writelines(lines)


def _decoded_shard(shard: tuple[Path, Path, list[dict[str, str]]]) -> list[str]:
    source, folder, rows = shard
    lines = []
    for row in rows:
        samples = read_clip(source / row["audio_path"])
        path = folder / f"{Path(row['audio_path']).stem}.wav"
        write_clip(path, samples)
        lines.append(json.dumps(row | {"audio_path": str(path), "duration": duration_s(samples)}) + "\n")
    return lines


def _rows(source: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (source / "manifest.jsonl").read_text().splitlines()]


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
