"""What can be mended in a clip without changing what is heard: silence at its ends, and its level."""

import numpy as np

from tasks.contracts import SAMPLE_RATE_HZ
from tasks.speech.audio import to_float32, to_int16
from tasks.speech.measure import SPEECH, level_lufs
from tasks.speech.voice_activity import FRAME

_CEILING = 0.89  # of full scale: -1 dBFS, the peak that EBU R 128 allows


def trimmed(speech: np.ndarray, kept_s: float) -> tuple[int, int]:
    """The first frame to keep and the one after the last, for speech (frames,) with that much silence left at its ends."""
    spoken = np.nonzero(speech >= SPEECH)[0]
    kept = round(kept_s * SAMPLE_RATE_HZ / FRAME)
    return max(0, int(spoken[0]) - kept), min(len(speech), int(spoken[-1]) + 1 + kept)


def raised(samples: np.ndarray, quiet_lufs: float, wanted_lufs: float) -> np.ndarray:
    """Int16 samples (n,) at the wanted loudness if they are quieter than that, as far as their loudest sample allows."""
    floats = to_float32(samples)
    level = level_lufs(floats)
    if level is None or level >= quiet_lufs:
        return samples
    gain = min(10 ** ((wanted_lufs - level) / 20), _CEILING / float(np.abs(floats).max()))
    return to_int16(floats * gain)
