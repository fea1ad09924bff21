"""What an utterance sounds like, in bits that level, trimming and re-encoding leave alone: two prints tell one recording from two.

After Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System" (ISMIR 2002): 33 bands, spaced evenly in logarithm; a bit says
whether the difference of energy between two neighbouring bands grew since the frame before. Frames overlap so much that a shift by half
a hop changes little. What is near silence means nothing, and has no bits. One second costs about a millisecond.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from tasks.contracts import SAMPLE_RATE_HZ

PRINT_VERSION = 1  # raise it when equal samples would have another print
_RATE_HZ = 4_000  # all that the bands need
_BANDS_HZ = (300.0, 1_800.0)
_HOP = 96  # samples at that rate: 24 ms
_WINDOW = 1_024  # 0.256 s: a sound of speech changes within it, its melody does not
BITS = 32
_BLOCK = 64  # frames
_HEARD_DB = -30.0  # against the loudest frame
_SHORTEST = 20  # frames that are heard: less than about 0.7 s is said twice alike
_MOST_WRONG = 0.2  # of the bits: re-encoded recordings differ in up to 0.07, others in more than 0.3
LEAST_OF_SHORTER, _LEAST_OF_LONGER = 0.85, 0.6  # what two prints have in common, of what is heard in each


class Likeness(NamedTuple):
    """How two prints compare where the second is shifted against the first: share of wrong bits, and of each that they have in common."""

    wrong: float
    of_shorter: float
    of_longer: float

    @property
    def same(self) -> bool:
        """Whether it is one recording, or nearly all of it."""
        return self.wrong <= _MOST_WRONG and self.of_shorter >= LEAST_OF_SHORTER and self.of_longer >= _LEAST_OF_LONGER


def sound_print(samples: np.ndarray) -> np.ndarray:
    """The print of int16 samples (n,) at 16 kHz.

    Returns:
        Words of 32 bits, uint32 of shape (frames,), one for each 24 ms; 0 where nothing is heard. Empty if too little is.

    """
    energy = _band_energy(samples)
    if len(energy) <= _SHORTEST:
        return np.zeros(0, np.uint32)
    grew = np.diff(energy[:, :-1] - energy[:, 1:], axis=0) > 0
    words = np.packbits(grew, axis=1, bitorder="little").view("<u4").reshape(-1)
    loudness = energy[1:].sum(axis=1)
    heard = loudness > loudness.max() * 10 ** (_HEARD_DB / 10)
    words = np.where(heard, words, np.uint32(0))
    return words if np.count_nonzero(words) >= _SHORTEST else np.zeros(0, np.uint32)


def likeness(first: np.ndarray, second: np.ndarray, shift: int) -> Likeness:
    """Compare two prints, of which frame i of the second is frame i + `shift` of the first."""
    a, b = first[max(0, shift) :], second[max(0, -shift) :]
    common = min(len(a), len(b))
    a, b = a[:common], b[:common]
    both = (a != 0) & (b != 0)
    frames = int(np.count_nonzero(both))
    if frames < _SHORTEST:
        return Likeness(1.0, 0.0, 0.0)
    wrong = float(np.bitwise_count(a[both] ^ b[both]).sum()) / (BITS * frames)
    heard = sorted((np.count_nonzero(first), np.count_nonzero(second)))
    return Likeness(wrong, frames / heard[0], frames / heard[1])


def _band_energy(samples: np.ndarray) -> np.ndarray:
    """float32 of shape (frames, 33)."""
    import soxr
    from scipy.fft import rfft  # five times as fast as numpy's in single precision

    slow = soxr.resample(samples.astype(np.float32), SAMPLE_RATE_HZ, _RATE_HZ, quality="MQ")
    if len(slow) < _WINDOW:
        return np.zeros((0, BITS + 1), np.float32)
    window, bands = _window_and_bands()
    frames = np.lib.stride_tricks.sliding_window_view(slow, _WINDOW)[::_HOP]
    energy = np.empty((len(frames), BITS + 1), np.float32)
    for start in range(0, len(frames), _BLOCK):  # that fit a core's cache
        energy[start : start + _BLOCK] = _power(rfft(frames[start : start + _BLOCK] * window, axis=1)) @ bands
    return energy


def _power(spectrum: np.ndarray) -> np.ndarray:
    return np.square(spectrum.real) + np.square(spectrum.imag)


@cache
def _window_and_bands() -> tuple[np.ndarray, np.ndarray]:
    """A Hann window, and which bins of its spectrum (513) belong to which band (33)."""
    edges = np.geomspace(*_BANDS_HZ, BITS + 2) * _WINDOW / _RATE_HZ
    bins = np.arange(_WINDOW // 2 + 1)[:, None]
    return np.hanning(_WINDOW).astype(np.float32), ((bins >= edges[:-1]) & (bins < edges[1:])).astype(np.float32)
