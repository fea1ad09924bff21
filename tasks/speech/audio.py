"""A clip on disk becomes 16 kHz mono samples, and samples become a WAV file.

Decodes what libsndfile reads (WAV, FLAC, OGG, MP3, AIFF, ...). Channels are mixed by their mean; soxr resamples in its high quality.
Samples are rounded to 16 bits here, once, so that what is hashed, stored, trained on and transcribed is the same.
"""

import hashlib
import io
from pathlib import Path

import numpy as np

from infra.errors import SpeechError
from tasks.contracts import SAMPLE_RATE_HZ, Refusal

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf", ".w64"})
_FULL_SCALE = 32_768
_LONGEST_S = 120  # more is not read: no utterance lasts that long, and a header may claim any length or none


def read_clip(path: Path) -> np.ndarray:
    """Decode a file.

    Returns:
        int16 of shape (n,), mono, 16 kHz. Samples that resampling pushed past full scale are lowered together, not clipped.

    Raises:
        SpeechError: the file is missing, no audio, empty, far too long, or holds values that are no numbers.

    """
    import soundfile

    advice = "Convert it to WAV, FLAC, OGG or MP3, or leave it out"
    if path.suffix.lower() == ".raw":
        raise SpeechError(f"{path.name} is raw samples: nothing in it tells their rate", advice, Refusal.NO_AUDIO)
    try:
        with path.open("rb") as stream, soundfile.SoundFile(stream) as sound:
            sample_rate_hz, most = sound.samplerate, _LONGEST_S * sound.samplerate
            samples = sound.read(most + 1, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise SpeechError(f"{path.name} cannot be decoded: {error.error_string}", advice, Refusal.NO_AUDIO) from error
    except FileNotFoundError as error:
        raise SpeechError(f"{path.name} does not exist", "Check the path in the manifest", Refusal.MISSING) from error
    except OSError as error:
        raise SpeechError(
            f"{path.name} cannot be opened: {error.strerror}", "Check the path and who may read it", Refusal.MISSING
        ) from error
    if len(samples) > most:
        raise SpeechError(f"{path.name} lasts more than {_LONGEST_S} s", "Cut it at pauses", Refusal.TOO_LONG)
    if samples.size == 0:
        raise SpeechError(f"{path.name} holds no samples", "Record it again or leave it out", Refusal.NO_AUDIO)
    if not np.isfinite(samples).all():
        raise SpeechError(f"{path.name} holds samples that are no numbers", "Export it again from its source", Refusal.NO_AUDIO)
    return to_int16(resample(samples.mean(axis=1), sample_rate_hz))


def resample(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """float32 (n,) at any rate to float32 (m,) at 16 kHz."""
    import soxr

    if sample_rate_hz == SAMPLE_RATE_HZ:
        return samples
    return soxr.resample(samples, sample_rate_hz, SAMPLE_RATE_HZ, quality="HQ")


def to_int16(samples: np.ndarray) -> np.ndarray:
    """float32 in [-1, 1] to int16; louder input is scaled down to full scale. The inverse of `to_float32`."""
    peak = float(np.abs(samples).max(initial=0.0))
    return np.round(samples * (_FULL_SCALE / max(peak, 1.0))).clip(-_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)


def to_float32(samples: np.ndarray) -> np.ndarray:
    """int16 to float32 in [-1, 1), as libsndfile reads PCM_16."""
    return samples.astype(np.float32) / _FULL_SCALE


def write_clip(path: Path, samples: np.ndarray) -> None:
    """Write int16 mono samples at 16 kHz as PCM_16 WAV, without any metadata."""
    path.write_bytes(encoded_clip(samples))  # libsndfile would not say that a disk is full


def encoded_clip(samples: np.ndarray) -> bytes:
    """The bytes of the file that `write_clip` writes: 44 of header, then two a sample."""
    import soundfile

    encoded = io.BytesIO()
    soundfile.write(encoded, samples, SAMPLE_RATE_HZ, subtype="PCM_16", format="WAV")
    return encoded.getvalue()


def load_clip(path: Path) -> np.ndarray:
    """Read a clip that `write_clip` wrote: float32 of shape (n,) at 16 kHz.

    Raises:
        SpeechError: the file is missing or has another rate or channel count.

    """
    import soundfile

    if not path.is_file():
        raise SpeechError(f"{path} does not exist", "The dataset folder is incomplete: ingest it again")
    samples, sample_rate_hz = soundfile.read(path, dtype="float32")
    if sample_rate_hz != SAMPLE_RATE_HZ or samples.ndim != 1:
        raise SpeechError(
            f"{path} is not 16 kHz mono ({sample_rate_hz} Hz, {samples.ndim} axes)", "Bring it in with `voxfactory ingest`"
        )
    return samples


def audio_hash(samples: np.ndarray) -> str:
    """Hex SHA-256 of int16 samples: equal speech, equal hash, whatever file it came in."""
    return hashlib.sha256(np.ascontiguousarray(samples, dtype="<i2").tobytes()).hexdigest()


def duration_s(samples: np.ndarray) -> float:
    """Length of 16 kHz samples in seconds."""
    return len(samples) / SAMPLE_RATE_HZ
