"""Clips in which nobody speaks: what a model writes there, it made up."""

from typing import NamedTuple

import numpy as np

from tasks.contracts import SAMPLE_RATE_HZ

NOTHING_VERSION = 1  # raise it when the clips change
_LENGTHS_S = (1.0, 2.0, 3.5, 5.0)
_ROOM_DBFS = (-60.0, -45.0, -30.0)  # a quiet room, an office, a street
_MAINS_HZ, _HUM_DBFS = 50.0, -40.0
_SEED = 0


class Nothing(NamedTuple):
    """A clip without speech: float32 of shape (n,), 16 kHz."""

    name: str
    samples: np.ndarray


def nothing_said() -> list[Nothing]:
    """Digital silence, rooms of three levels, and the hum of the mains, of 1 to 5 s each: the same clips every time."""
    draw = np.random.default_rng(_SEED)
    clips = []
    for seconds in _LENGTHS_S:
        size = round(seconds * SAMPLE_RATE_HZ)
        clips.append(Nothing(f"silence of {seconds:g} s", np.zeros(size, np.float32)))
        clips += [Nothing(f"room of {level:g} dBFS, {seconds:g} s", _room(draw, size, level)) for level in _ROOM_DBFS]
        clips.append(Nothing(f"hum of {seconds:g} s", _hum(size) + _room(draw, size, _ROOM_DBFS[0])))
    return clips


def _room(draw: np.random.Generator, size: int, level_dbfs: float) -> np.ndarray:
    """Noise whose power falls with its frequency, as that of rooms does (brown above 50 Hz), at an RMS level."""
    spectrum = np.fft.rfft(draw.normal(size=size))
    hz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ)
    noise = np.fft.irfft(spectrum / np.maximum(hz, _MAINS_HZ), size)
    return (noise * (10 ** (level_dbfs / 20) / np.sqrt(np.mean(np.square(noise))))).astype(np.float32)


def _hum(size: int) -> np.ndarray:
    time_s = np.arange(size) / SAMPLE_RATE_HZ
    tones = sum(np.sin(2 * np.pi * _MAINS_HZ * harmonic * time_s) / harmonic for harmonic in (1, 2, 3, 5))
    return (tones * (10 ** (_HUM_DBFS / 20) / np.sqrt(np.mean(np.square(tones))))).astype(np.float32)
