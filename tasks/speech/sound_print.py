"""What an utterance sounds like, in bits that level, trimming and re-encoding leave alone: two prints tell one recording from two.

After Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System" (ISMIR 2002): 33 bands, here spaced evenly in mel; a bit says
whether the difference of energy between two neighbouring bands grew since the frame before. Energies are those of short windows, many of
which are averaged to one frame, so that a shift by half a hop changes little. What is near silence means nothing, and has no bits.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from tasks.contracts import SAMPLE_RATE_HZ

PRINT_VERSION = 2  # raise it when equal samples would have another print
_BANDS_HZ = (200.0, 3_400.0)  # what telephones pass, too
_WINDOW, _HOP = 256, 192  # samples
_FRAME_WINDOWS, _FRAME_HOP = 34, 2  # windows that a frame averages: 0.4 s, weighted by Hann; a frame every 24 ms
BITS = 32
_BLOCK = 256  # windows, which fit a core's cache
_HEARD_DB = -30.0  # against the loudest frame
_SHORTEST = 20  # frames that are heard: less than about 0.7 s is said twice alike
_MOST_WRONG = (
    0.2  # of the bits: of 200 prompts as MP3 of 8 or 40 kbit/s half have less than 0.12, of 6,000 other pairs none less than 0.3
)
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
    from scipy.fft import rfft  # five times as fast as numpy's in single precision

    if len(samples) < _WINDOW + (_FRAME_WINDOWS - 1) * _HOP:
        return np.zeros((0, BITS + 1), np.float32)
    hann, bands, averaged = _weights()
    windows = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float32), _WINDOW)[::_HOP]
    energy = np.empty((len(windows), BITS + 1), np.float32)
    for start in range(0, len(windows), _BLOCK):
        spectrum = rfft(windows[start : start + _BLOCK] * hann, axis=1)
        energy[start : start + _BLOCK] = np.square(np.abs(spectrum)) @ bands
    return np.lib.stride_tricks.sliding_window_view(energy, _FRAME_WINDOWS, axis=0)[::_FRAME_HOP] @ averaged


@cache
def _weights() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A Hann window, how much of each bin of its spectrum (129) lies in each band (33), and what each window counts in a frame."""
    lowest, highest = (_mel(hz) for hz in _BANDS_HZ)
    edges = _hz(np.linspace(lowest, highest, BITS + 2)) * _WINDOW / SAMPLE_RATE_HZ
    bins = np.arange(_WINDOW // 2 + 1)[:, None]
    shares = np.minimum(bins + 0.5, edges[1:]) - np.maximum(bins - 0.5, edges[:-1])
    hann = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    return hann, np.clip(shares, 0, None).astype(np.float32), np.hanning(_FRAME_WINDOWS + 2)[1:-1].astype(np.float32)


def _mel(hz: float) -> float:
    """O'Shaughnessy, Speech Communication (1987)."""
    return 2595 * float(np.log10(1 + hz / 700))


def _hz(mel: np.ndarray) -> np.ndarray:
    return 700 * (10 ** (mel / 2595) - 1)
