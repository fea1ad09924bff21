"""A hundred thousand utterances: how long opening, checking, dividing and describing a version takes, and adding a hundred clips to it.

Opening is measured in a process of its own, whose memory is told. What was taken in long ago is written as the store keeps it, with
files of 5 ms, since no time that is measured here depends on their length; the hundred that are new are real speech and go through
every check. Prints are 3 s long and all different, as those of other speech are.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from infra.storage import content_hash
from tasks.contracts import DatasetVersion, Measurements
from tasks.dataset.card import sides_of
from tasks.dataset.clips import ClipStore, Kept
from tasks.dataset.home import Memory
from tasks.dataset.ingest import IngestOptions, ingest
from tasks.dataset.personal_data import PersonalData
from tasks.dataset.shards import Rules, record_keys
from tasks.dataset.sources import Row, source_hash
from tasks.dataset.speakers import Pseudonyms
from tasks.dataset.split import split_utterances
from tasks.dataset.version import fingerprint, open_version, read_utterances
from tasks.speech.audio import audio_hash, encoded_clip
from tests.builders.speech import voice

_UTTERANCES, _ADDED = 100_000, 100
_SPEAKERS, _PROMPTS = 2_000, 60_000
_SAMPLES, _PRINT_WORDS = 80, 125
_SETTLING_S = 2.5  # files that have just changed are not trusted
_OPTIONS = IngestOptions(language="en")
_MEASURED = Measurements(
    level_lufs=-20.0,
    peak_dbfs=-3.0,
    clipped_share=0.0,
    speech_s=2.5,
    silence_share=0.15,
    snr_db=35.0,
    bandwidth_hz=7_500.0,
    characters_per_s=14.0,
)


@dataclass(frozen=True)
class _Place:
    source: Path
    store: ClipStore
    folder: Path


def measure(utterances: int = _UTTERANCES, added: int = _ADDED) -> dict[str, float]:
    """Seconds, and megabytes of the process that opened."""
    with TemporaryDirectory() as name:
        place = _Place(Path(name) / "source", ClipStore(Path(name) / "clips"), Path(name) / "datasets")
        place.source.mkdir()
        _fill(place, utterances)
        memory = Memory(place.store, Pseudonyms(b"key"))
        before = ingest(place.source, "scale", _OPTIONS, place.folder / "before", 2, memory)
        opened = _measured_apart(before.folder)
        _bring_more(place, utterances, added)
        started = time.perf_counter()
        source_hash(place.source, place.store.file_hashes)
        after = ingest(place.source, "scale", _OPTIONS, place.folder / "after", 2, memory, before)
        add_s = time.perf_counter() - started
        assert _size(before) == utterances
        assert _size(after) == utterances + added
    return {"open_100k_s": opened["seconds"], "rss_100k_mb": opened["megabytes"], "add_100_s": round(add_s, 2)}


def _size(version: DatasetVersion) -> int:
    return version.train_utterances + version.eval_utterances + version.set_aside_utterances


def _fill(place: _Place, utterances: int) -> None:
    """A source of small files, and a store that knows them all."""
    draw = np.random.default_rng(1)
    lines, files, kept = [], [], []
    for number in range(utterances):
        samples = draw.integers(-1000, 1000, _SAMPLES, dtype=np.int16)
        heard, text = audio_hash(samples), f"this is the prompt with the number {draw.integers(_PROMPTS)}"
        path = place.source / f"{number:06d}.wav"
        path.write_bytes(samples.tobytes())
        clip = place.store.clip(heard)
        clip.parent.mkdir(exist_ok=True)
        clip.write_bytes(encoded_clip(samples))
        files.append(path)
        kept.append(Kept(audio_hash=heard, samples=_SAMPLES, text=text, language="en", measured=_MEASURED, warnings=()))
        lines.append(json.dumps({"audio": path.name, "text": text, "speaker": f"speaker {draw.integers(_SPEAKERS)}"}))
    (place.source / "data.jsonl").write_text("\n".join(lines) + "\n")
    time.sleep(_SETTLING_S)
    rules = Rules(_OPTIONS.language, _OPTIONS.checks, PersonalData.WARN)
    rows = [Row(str(path), one.text, path.name) for path, one in zip(files, kept, strict=True)]
    records = dict(zip(record_keys(rows, place.store.file_hashes(files), rules), kept, strict=True))
    words = draw.integers(1, 2**32, (utterances, _PRINT_WORDS), dtype=np.uint32)
    prints = {one.audio_hash: row for one, row in zip(kept, words, strict=True)}
    place.store.remember(records, prints)
    place.store.remember_near([], prints)


def _bring_more(place: _Place, utterances: int, added: int) -> None:
    import soundfile

    with (place.source / "data.jsonl").open("a") as manifest:
        for number in range(added):
            clip = f"new-{number}.wav"
            soundfile.write(place.source / clip, voice(31 * number, 1.5), 16_000)
            row = {"audio": clip, "text": f"something else {content_hash(number)[:6]}", "speaker": f"somebody {number % 9}"}
            manifest.write(json.dumps(row) + "\n")
    time.sleep(_SETTLING_S)


def _measured_apart(folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.ingest.scale", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _open(folder: Path) -> dict[str, float]:
    """Open, check the fingerprint, divide, describe: in this process, whose memory is told."""
    started = time.perf_counter()
    version = open_version(folder)
    utterances = read_utterances(version)
    assert fingerprint(utterances) == version.fingerprint
    divided, _ = split_utterances(utterances, 0.2, 1)
    sides_of(divided)
    seconds = time.perf_counter() - started
    return {"seconds": round(seconds, 2), "megabytes": _most_megabytes()}


def _most_megabytes() -> int:
    """The most memory that this process ever held; `getrusage` would tell of who started it, too."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return round(int(line.split()[1]) / 1024)


if __name__ == "__main__":
    told = _open(Path(sys.argv[1])) if len(sys.argv) > 1 else measure()
    sys.stdout.write(json.dumps(told) + "\n")
