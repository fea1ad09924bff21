from pathlib import Path

import numpy as np
import pytest
import soundfile

from infra.errors import SpeechError
from tasks.speech.audio import audio_hash, load_clip, read_clip, read_recording, to_float32, write_clip
from tests.builders.speech import REAL_SPEECH, tone

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("suffix", "subtype"), [("wav", "PCM_24"), ("wav", "FLOAT"), ("flac", "PCM_16"), ("ogg", "VORBIS"), ("mp3", None)]
)
@pytest.mark.parametrize("sample_rate_hz", [8_000, 44_100, 48_000])
def test_every_format_rate_and_channel_count_becomes_16_khz_mono(
    tmp_path: Path, suffix: str, subtype: str | None, sample_rate_hz: int
):
    path = tmp_path / f"clip.{suffix}"
    mono = tone(1.0, sample_rate_hz)
    soundfile.write(path, np.stack([mono, mono], axis=1), sample_rate_hz, subtype=subtype)
    samples = read_clip(path)
    assert samples.dtype == np.int16
    assert abs(len(samples) - 16_000) <= 16_000 * 0.08  # mp3 pads its ends
    spectrum = np.abs(np.fft.rfft(to_float32(samples)))
    assert abs(np.argmax(spectrum) * 16_000 / len(samples) - 440) < 2


def test_channels_are_mixed_not_dropped(tmp_path: Path):
    left, right = tone(hz=440), tone(hz=880)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    expected = (left + right) / 2
    assert np.allclose(to_float32(read_clip(tmp_path / "stereo.wav")), expected, atol=1e-4)


def test_an_mp3_is_decoded_in_one_go(tmp_path: Path):
    """Where it is read in pieces, the decoder is put back to the end of each, and stumbles."""
    import soxr

    said = np.concatenate([to_float32(read_clip(path)) for path in sorted(REAL_SPEECH.glob("*.wav"))])
    for piece in said[: len(said) // 9 * 9].reshape(9, -1):
        mono = soxr.resample(piece, 16_000, 48_000)
        soundfile.write(tmp_path / "12s.mp3", np.stack([mono, 0.7 * mono], axis=1), 48_000)
        at_once, _ = soundfile.read(tmp_path / "12s.mp3", dtype="float32")
        assert np.allclose(read_recording(tmp_path / "12s.mp3").samples, at_once.mean(axis=1), rtol=0, atol=1e-6)


def test_loud_input_is_lowered_and_never_clipped(tmp_path: Path):
    soundfile.write(tmp_path / "loud.wav", 3 * tone(level=1.0), 16_000, subtype="FLOAT")
    samples = to_float32(read_clip(tmp_path / "loud.wav"))
    assert np.corrcoef(samples, tone(level=1.0))[0, 1] > 0.9999


def test_what_is_written_is_what_was_hashed(tmp_path: Path):
    samples = read_clip(next(REAL_SPEECH.glob("*.wav")))
    write_clip(tmp_path / "clip.wav", samples)
    assert audio_hash(read_clip(tmp_path / "clip.wav")) == audio_hash(samples)
    assert np.array_equal(load_clip(tmp_path / "clip.wav"), to_float32(samples))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "cannot be decoded"), (b"not audio at all", "cannot be decoded"), (None, "does not exist")],
)
def test_what_is_no_audio_says_so(tmp_path: Path, content: bytes | None, reason: str):
    path = tmp_path / "clip.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SpeechError, match=reason):
        read_clip(path)


def test_samples_that_are_no_numbers_are_refused(tmp_path: Path):
    samples = tone()
    samples[100] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(SpeechError, match="no numbers"):
        read_clip(tmp_path / "nan.wav")
