"""Every kind of file that people have, and every kind of file that is none."""

import io
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from infra.errors import SpeechError
from tasks.contracts import Refusal
from tasks.speech.audio import read_clip, to_float32
from tests.builders.speech import voice

pytestmark = pytest.mark.fast


def refusal(path: Path) -> SpeechError:
    with pytest.raises(SpeechError) as raised:
        read_clip(path)
    return raised.value


def is_short_or_refused(path: Path) -> bool:
    """Whether a second of sound comes of it at most, or the reason that it is no audio."""
    try:
        return len(read_clip(path)) <= 16_000 * 1.1
    except SpeechError as error:
        return error.kind == Refusal.NO_AUDIO


def sounds_like(found: np.ndarray, expected: np.ndarray, shift: int = 4_000) -> bool:
    """Whether the same is heard, perhaps a little later: encoders pad."""
    similar = np.correlate(np.pad(to_float32(found), shift), expected, "valid")
    return similar.max() > 0.9 * float(np.vdot(expected, expected))


@pytest.mark.parametrize(
    ("suffix", "kind", "subtype"),
    [
        ("wav", "WAV", "PCM_U8"),
        ("wav", "WAV", "PCM_32"),
        ("wav", "WAV", "DOUBLE"),
        ("wav", "WAV", "ULAW"),
        ("wav", "WAV", "ALAW"),
        ("wav", "WAV", "MS_ADPCM"),
        ("wav", "WAVEX", "PCM_16"),
        ("aiff", "AIFF", "PCM_16"),
        ("au", "AU", "PCM_16"),
        ("caf", "CAF", "PCM_16"),
        ("w64", "W64", "PCM_16"),
        ("opus", "OGG", "OPUS"),
        ("mp3", "WAV", "PCM_16"),  # a wrong extension
        ("wav", "MP3", "MPEG_LAYER_III"),
        ("wav", "FLAC", "PCM_16"),
    ],
)
def test_what_libsndfile_knows_is_heard_by_its_content(tmp_path: Path, suffix: str, kind: str, subtype: str):
    said = voice(0, 1.0)
    soundfile.write(tmp_path / f"clip.{suffix}", said, 16_000, format=kind, subtype=subtype)
    assert sounds_like(read_clip(tmp_path / f"clip.{suffix}"), said)


@pytest.mark.parametrize(
    ("suffix", "container", "codec"),
    [("m4a", "ipod", "aac"), ("mp4", "mp4", "aac"), ("webm", "webm", "libopus"), ("aac", "adts", "aac"), ("wma", "asf", "wmav2")],
)
def test_what_telephones_and_browsers_record_is_heard(tmp_path: Path, suffix: str, container: str, codec: str):
    said = voice(0, 1.0)
    write_by_ffmpeg(tmp_path / f"clip.{suffix}", said, container, codec)
    assert sounds_like(read_clip(tmp_path / f"clip.{suffix}"), said)


def write_by_ffmpeg(path: Path, samples: np.ndarray, container: str, codec: str, rate_hz: int = 48_000) -> None:
    import av
    import soxr

    with av.open(path, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate_hz, layout="mono")
        stream.bit_rate = 64_000
        whole = soxr.resample(samples, 16_000, rate_hz).reshape(1, -1).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(whole, format="fltp", layout="mono")
        frame.rate = rate_hz
        for packet in (*stream.encode(frame), *stream.encode(None)):
            file.mux(packet)


def test_without_pyav_such_a_file_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_by_ffmpeg(tmp_path / "clip.m4a", voice(0), "ipod", "aac")
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    told = refusal(tmp_path / "clip.m4a")
    assert "PyAV is not installed" in told.problem
    assert "extra `media`" in told.fix


@pytest.mark.parametrize("kept", [0, 1, 4, 12, 44, 300, 3_000])
@pytest.mark.parametrize(
    ("suffix", "container"), [("wav", None), ("flac", None), ("mp3", None), ("m4a", "ipod"), ("webm", "webm")]
)
def test_a_truncated_file_is_heard_as_far_as_it_goes_or_refused(tmp_path: Path, kept: int, suffix: str, container: str | None):
    path, said = tmp_path / f"clip.{suffix}", voice(0, 1.0)
    if container:
        write_by_ffmpeg(path, said, container, "aac" if container == "ipod" else "libopus")
    else:
        soundfile.write(path, said, 16_000)
    path.write_bytes(path.read_bytes()[:kept])
    assert is_short_or_refused(path)


def test_eight_channels_at_192_khz(tmp_path: Path):
    import soxr

    said = voice(0, 1.0)
    fast = soxr.resample(said, 16_000, 192_000)
    soundfile.write(tmp_path / "clip.wav", np.stack([fast] * 8, axis=1), 192_000, subtype="PCM_24")
    assert sounds_like(read_clip(tmp_path / "clip.wav"), said)


@pytest.mark.parametrize(
    ("rate_hz", "length"), [(16_000, 2**32 - 1), (2**32 - 1, 2**32 - 1), (0, 1000), (1, 1000), (2**31, 2**31 - 8)]
)
def test_a_header_may_claim_anything(tmp_path: Path, rate_hz: int, length: int):
    """Terabytes, a rate that nothing records at: what is there is heard, or refused, in no more memory than it needs."""
    block = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate_hz, (2 * rate_hz) % 2**32, 2, 16)
    samples = (voice(0) * 32_767).astype("<i2").tobytes()
    riff = b"RIFF" + struct.pack("<I", length) + b"WAVE" + block + b"data" + struct.pack("<I", length) + samples
    (tmp_path / "clip.wav").write_bytes(riff)
    assert is_short_or_refused(tmp_path / "clip.wav")


def test_three_hours_of_speech_are_refused_without_being_read(tmp_path: Path):
    with soundfile.SoundFile(tmp_path / "clip.flac", "w", 16_000, 1) as file:
        for _ in range(3 * 60):
            file.write(np.zeros(60 * 16_000, np.int16))
    told = refusal(tmp_path / "clip.flac")
    assert told.kind == Refusal.TOO_LONG
    assert "more than 120 s" in told.problem


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path: Path, value: float):
    said = voice(0)
    said[100] = value
    soundfile.write(tmp_path / "clip.wav", said, 16_000, subtype="FLOAT")
    assert "no numbers" in refusal(tmp_path / "clip.wav").problem


def test_a_file_that_is_written_to_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    soundfile.write(tmp_path / "clip.wav", voice(0), 16_000)
    usual = soundfile.SoundFile.read

    def slow(self: soundfile.SoundFile, *arguments: object, **named: object) -> np.ndarray:
        with (tmp_path / "clip.wav").open("ab") as file:
            file.write(b"more")
        return usual(self, *arguments, **named)

    monkeypatch.setattr(soundfile.SoundFile, "read", slow)
    assert "changed while it was read" in refusal(tmp_path / "clip.wav").problem


def test_folders_and_pipes_are_no_files(tmp_path: Path):
    import os

    (tmp_path / "folder.wav").mkdir()
    os.mkfifo(tmp_path / "pipe.wav")
    for name in ("folder.wav", "pipe.wav"):
        asked = threading.Thread(target=lambda name=name: refusal(tmp_path / name), daemon=True)
        asked.start()
        asked.join(30)
        assert not asked.is_alive()
        assert refusal(tmp_path / name).kind == Refusal.MISSING


def test_what_a_recorder_wrote_beside_the_sound_is_not_copied(tmp_path: Path):
    from tasks.speech.audio import write_clip

    secret = b"Erika Mustermann, 52.52 N 13.40 E"
    encoded = io.BytesIO()
    soundfile.write(encoded, voice(0), 16_000, format="WAV")
    note = b"LIST" + struct.pack("<I", len(secret) + 13) + b"INFOICMT" + struct.pack("<I", len(secret) + 1) + secret + b"\0"
    (tmp_path / "clip.wav").write_bytes(encoded.getvalue() + note)
    write_clip(tmp_path / "kept.wav", read_clip(tmp_path / "clip.wav"))
    assert secret not in (tmp_path / "kept.wav").read_bytes()
