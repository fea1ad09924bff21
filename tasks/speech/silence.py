"""Where a long recording may be cut: at its quietest moments."""

import numpy as np

from tasks.contracts import SAMPLE_RATE_HZ

_FRAME = SAMPLE_RATE_HZ // 100
_HEARD_FRAMES = 20  # 0.2 s around a moment decide how quiet it is: less would be found within a word


def quietest_cuts(samples: np.ndarray, window_samples: int) -> tuple[int, ...]:
    """Where to cut samples (n,) so that no piece is longer than a window: each time at the quietest moment of the window's later half.

    Returns:
        Positions in samples, ascending; none where all fit into one window.

    """
    frames = len(samples) // _FRAME
    energy = np.square(samples[: frames * _FRAME].astype(np.float64)).reshape(frames, _FRAME).sum(axis=1)
    around = np.convolve(energy, np.ones(_HEARD_FRAMES), mode="same")
    cuts: list[int] = []
    begun = 0
    while len(samples) - begun > window_samples:
        first = (begun + window_samples // 2) // _FRAME
        last = (begun + window_samples) // _FRAME
        begun = int(first + np.argmin(around[first:last])) * _FRAME
        cuts.append(begun)
    return tuple(cuts)
