"""Files that nobody thought of: the door of the decoder and the reader of manifests.

In the suite a few hundred; `make fuzz` tries 20,000 of each.
"""

import io
import json
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.errors import DatasetError, SpeechError
from tasks.contracts import SAMPLE_RATE_HZ, Refusal
from tasks.dataset.sources import AUDIO_KEYS, Reject, Row, read_source
from tasks.speech.audio import read_clip
from tests.builders.speech import voice
from tests.tasks.speech.test_formats import write_by_ffmpeg

pytestmark = pytest.mark.fast
SOUND_KINDS = (
    ("WAV", "PCM_16"),
    ("WAV", "MS_ADPCM"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", None),
    ("AIFF", None),
)
SOUND_KINDS += (("CAF", "PCM_16"), ("W64", "PCM_16"), ("AU", "ULAW"))
CONTAINERS = (("ipod", "aac"), ("webm", "libopus"), ("adts", "aac"))
patient = settings(deadline=10_000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@cache
def undamaged() -> tuple[bytes, ...]:
    """A fifth of a second of speech in every kind of file."""
    said, files = voice(0, 0.2), []
    for kind, subtype in SOUND_KINDS:
        encoded = io.BytesIO()
        soundfile.write(encoded, said, SAMPLE_RATE_HZ, format=kind, subtype=subtype)
        files.append(encoded.getvalue())
    with tempfile.TemporaryDirectory() as folder:
        for container, codec in CONTAINERS:
            write_by_ffmpeg(Path(folder) / "clip", said, container, codec)
            files.append((Path(folder) / "clip").read_bytes())
    return tuple(files)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A file with some bytes changed, most of them in its head, with a piece cut out or put in; or only its beginning is right."""
    content = bytearray(draw(st.sampled_from(undamaged())))
    for place, value in draw(st.lists(st.tuples(st.integers(0, 127), st.integers(0, 255)), max_size=6)):
        content[place % len(content)] = value
    for place, value in draw(st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=6)):
        content[int(place * len(content))] = value
    begun, ended = sorted(int(share * len(content)) for share in draw(st.tuples(st.floats(0, 1), st.floats(0, 1))))
    change = draw(st.sampled_from(("none", "cut", "drop", "replace")))
    if change == "cut":
        del content[begun:]
    elif change == "drop":
        del content[begun:ended]
    elif change == "replace":
        content[begun:ended] = draw(st.binary(max_size=200))
    return bytes(content)


def heard_or_refused(path: Path) -> np.ndarray | SpeechError:
    try:
        return read_clip(path)
    except SpeechError as error:
        return error


def read_or_refused(manifest: Path) -> tuple[list[Row], list[Reject]] | DatasetError:
    try:
        return read_source(manifest)
    except DatasetError as error:
        return error


@patient
@given(files())
def test_any_file_is_heard_or_refused_with_a_reason(content: bytes):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.wav"
        path.write_bytes(content)
        heard = heard_or_refused(path)
    if isinstance(heard, SpeechError):
        assert Refusal(heard.kind) is not Refusal.OTHER
        assert len(heard.problem) > len("clip.wav ")
    else:
        assert heard.dtype == np.int16
        assert 0 < len(heard) <= 121 * SAMPLE_RATE_HZ


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20), lambda inner: st.lists(inner, max_size=3)
)
records = st.dictionaries(st.sampled_from((*AUDIO_KEYS, "text", "sentence", "language", "speaker", "split")), values, max_size=5)
lines = (
    records.map(json.dumps) | st.text(st.characters(exclude_characters="\n\r"), max_size=40) | st.just('{"audio_path": "a.wav"')
)


@patient
@given(st.lists(lines, min_size=1, max_size=8))
def test_every_line_of_a_manifest_becomes_a_row_or_a_refusal(written: list[str]):
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / "manifest.jsonl"
        manifest.write_bytes("\n".join(written).encode("utf-8", "surrogatepass"))
        read = read_or_refused(manifest)
    if isinstance(read, DatasetError):
        assert "no audio with transcripts" in read.problem or "not UTF-8" in read.problem
    else:
        rows, rejects = read
        assert len(rows) + len(rejects) == sum(bool(line.strip()) for line in written)
        assert all(reject.reason and reject.kind is not Refusal.OTHER for reject in rejects)


@patient
@given(st.binary(max_size=300), st.sampled_from((".jsonl", ".csv", ".tsv")))
def test_any_bytes_of_a_manifest_are_read_or_refused(content: bytes, suffix: str):
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / f"manifest{suffix}"
        manifest.write_bytes(content)
        read = read_or_refused(manifest)
    assert read.problem if isinstance(read, DatasetError) else any(read)
