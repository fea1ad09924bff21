"""Where a long recording may be cut: at its quietest moments."""

import numpy as np

from tasks.contracts import SAMPLE_RATE_HZ

_HOP = SAMPLE_RATE_HZ // 100
_HEARD = SAMPLE_RATE_HZ // 5  # 0.2 s around a moment decide how quiet it is: less would be found within a word


def quietest_cuts(samples: np.ndarray, window_samples: int) -> tuple[int, ...]:
    """Where to cut samples (n,) so that no piece is longer than a window: each time at the quietest moment of the window's later half.

    Returns:
        Positions in samples, ascending; none where all fit into one window.

    """
    import librosa

    level = librosa.feature.rms(y=samples, frame_length=_HEARD, hop_length=_HOP)[0]
    cuts: list[int] = []
    begun = 0
    while len(samples) - begun > window_samples:
        first, last = (begun + window_samples // 2) // _HOP, (begun + window_samples) // _HOP
        begun = int(first + np.argmin(level[first:last])) * _HOP
        cuts.append(begun)
    return tuple(cuts)
