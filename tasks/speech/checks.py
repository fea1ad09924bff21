"""Is this clip speech that a model can learn from? Each limit is here with its reason; each refusal tells the measured value."""

import numpy as np
from pydantic import Field

from infra.errors import SpeechError
from tasks.contracts import Contract, Refusal
from tasks.speech.audio import duration_s


class SpeechChecks(Contract):
    """What a clip must satisfy to be kept."""

    shortest_s: float = Field(0.2, gt=0, description="Shorter than the shortest spoken word: a click, not speech.")
    longest_s: float = Field(30.0, gt=0, le=30.0, description="Voxtral's window; a longer clip would be cut in training.")
    quietest_dbfs: float = Field(-60.0, lt=0, description="RMS level below which 16 bits hold mostly noise.")


def check_clip(samples: np.ndarray, limits: SpeechChecks) -> None:
    """Check int16 mono samples at 16 kHz.

    Raises:
        SpeechError: with the measured value and the limit.

    """
    length_s = duration_s(samples)
    if length_s < limits.shortest_s:
        raise SpeechError(
            f"The clip lasts {length_s:.2f} s, less than {limits.shortest_s:g} s", "Record the whole utterance", Refusal.TOO_SHORT
        )
    if length_s > limits.longest_s:
        raise SpeechError(
            f"The clip lasts {length_s:.1f} s, more than {limits.longest_s:g} s", "Cut it at a pause", Refusal.TOO_LONG
        )
    level = level_dbfs(samples)
    if level < limits.quietest_dbfs:
        raise SpeechError(f"The clip is silent ({level:.0f} dBFS)", "Check the microphone and record it again", Refusal.SILENT)


def level_dbfs(samples: np.ndarray) -> float:
    """RMS level of int16 samples in dB relative to full scale; -inf for digital silence."""
    mean_square = float(np.mean(np.square(samples.astype(np.float64) / 32_768)))
    return 10 * float(np.log10(mean_square)) if mean_square > 0 else float("-inf")
