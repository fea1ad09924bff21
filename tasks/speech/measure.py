"""What can be measured in one utterance without understanding it: level, clipping, speech and pauses, noise, bandwidth, pace."""

import unicodedata
import warnings
from functools import lru_cache
from typing import Any

import numpy as np

from tasks.contracts import SAMPLE_RATE_HZ, Measurements
from tasks.speech.voice_activity import FRAME, FRAME_S

SPEECH, PAUSE = 0.5, 0.1  # probabilities: from here on a frame counts as speech, up to here as a pause
_BLOCK_S = 0.4  # EBU R 128 measures in blocks of this length
_AT_THE_LIMIT = 0.985  # of the loudest sample: undamaged speech has one sample in a thousand there, clipped speech many
_LEAST_PAUSE_FRAMES = 3
_QUIET_PAUSE = 20  # percentile of the power of pauses: breath and the ends of words are in them, too
_HEARD_DB = 60.0  # below the loudest frequency: what lies deeper is no longer the voice
_CLEANEST_DB = 100.0  # 16 bits hold no more; digital silence would be infinitely clean
_SPOKEN_AS = {"CJK": 3.0, "HANGUL": 2.5, "HIRAGANA": 2.0, "KATAKANA": 2.0}  # letters of an alphabet that say as much


def clipped_share(samples: np.ndarray) -> float:
    """Share of float samples (n,) at the limit of their own range, at the rate at which they were recorded."""
    loud = np.abs(samples)
    peak = float(loud.max(initial=0.0))
    return float(np.count_nonzero(loud >= _AT_THE_LIMIT * peak) / len(samples)) if peak > 0 else 0.0


def measure(samples: np.ndarray, speech: np.ndarray, clipped: float, text: str) -> Measurements:
    """Measure float32 samples (n,) at 16 kHz, given how probably each frame of them holds speech and the share that was clipped."""
    spoken = speech >= SPEECH
    power = frame_power(samples)
    speech_s = min(float(spoken.sum()) * FRAME_S, len(samples) / SAMPLE_RATE_HZ)
    return Measurements(
        level_lufs=level_lufs(samples),
        peak_dbfs=round(20 * float(np.log10(np.abs(samples).max(initial=1e-9))), 2),
        clipped_share=round(clipped, 5),
        speech_s=round(speech_s, 3),
        silence_share=round(1 - speech_s / max(len(samples) / SAMPLE_RATE_HZ, FRAME_S), 3),
        snr_db=_snr_db(power, speech),
        bandwidth_hz=_bandwidth_hz(samples, spoken),
        characters_per_s=round(spoken_letters(text) / max(speech_s, FRAME_S), 2),
    )


def level_lufs(samples: np.ndarray) -> float | None:
    """Integrated loudness of float32 samples (n,) at 16 kHz by EBU R 128; None when too short or too silent for it."""
    if len(samples) < _BLOCK_S * SAMPLE_RATE_HZ:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of nothing above the gate: -inf tells it
        level = float(_meter().integrated_loudness(samples))
    return round(level, 2) if np.isfinite(level) else None


def frame_power(samples: np.ndarray) -> np.ndarray:
    """Mean square of each frame of samples (n,): float64 of shape (ceil(n / FRAME),); silence is filled in after the last."""
    frames = np.zeros(-(-len(samples) // FRAME) * FRAME, np.float32)
    frames[: len(samples)] = samples
    return np.square(frames.reshape(-1, FRAME), dtype=np.float64).mean(axis=1)


def spoken_letters(text: str) -> float:
    """How many letters of an alphabet are spoken: digits are read as words, a Chinese character as a syllable."""
    return sum(
        4.0 if character.isdigit() else _SPOKEN_AS.get(script_of(character), 1.0) for character in text if character.isalnum()
    )


def script_of(character: str) -> str:
    """The script of a letter, as Unicode names it: LATIN, CYRILLIC, DEVANAGARI, CJK, ..."""
    return unicodedata.name(character, "").partition(" ")[0]


def _snr_db(power: np.ndarray, speech: np.ndarray) -> float | None:
    """Power within speech over the power of the quieter pauses; a frame beside speech is no pause."""
    busy = speech > PAUSE
    near = busy.copy()
    near[1:] |= busy[:-1]
    near[:-1] |= busy[1:]
    pauses = power[~near]
    if not (speech >= SPEECH).any() or len(pauses) < _LEAST_PAUSE_FRAMES:
        return None
    noise = float(np.percentile(pauses, _QUIET_PAUSE))
    signal = max(float(power[speech >= SPEECH].mean()) - noise, 1e-12)
    return round(min(10 * float(np.log10(signal / max(noise, 1e-12))), _CLEANEST_DB), 1)


def _bandwidth_hz(samples: np.ndarray, spoken: np.ndarray) -> float:
    """The highest frequency at which the mean spectrum of speech comes within 60 dB of its loudest."""
    import librosa

    spectrum = np.square(np.abs(librosa.stft(samples, n_fft=FRAME, hop_length=FRAME))[:, : len(spoken)])
    mean = spectrum[:, spoken[: spectrum.shape[1]]].mean(axis=1) if spoken.any() else spectrum.mean(axis=1)
    heard = np.nonzero(librosa.power_to_db(mean, ref=np.max, top_db=None) > -_HEARD_DB)[0]
    return float(librosa.fft_frequencies(sr=SAMPLE_RATE_HZ, n_fft=FRAME)[heard.max()]) if mean.max() > 0 else 0.0


@lru_cache(maxsize=1)
def _meter() -> Any:
    from pyloudnorm import Meter

    return Meter(SAMPLE_RATE_HZ)
