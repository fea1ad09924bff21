"""What is heard in the windows of a plan's rows: utterances one after the other, or the pieces of one that is longer than a window."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from infra.storage import content_hash
from tasks.contracts import SAMPLE_RATE_HZ, Utterance
from tasks.speech.audio import load_clip
from tasks.training.packing import PAUSE_S
from tasks.training.plan import PlanRow


class WindowAudio:
    """The audio of rows.

    Args:
        utterances, clips: of each id.

    """

    def __init__(self, utterances: Mapping[str, Utterance], clips: Mapping[str, Path]) -> None:
        self._utterances, self._clips = utterances, clips

    def names(self, row: PlanRow) -> tuple[str, ...]:
        """A hash for each window of the row: of what is heard in it."""
        hashes = [self._utterances[name].audio_hash for name in row.utterances]
        if len(hashes) > 1:
            return (content_hash(hashes, PAUSE_S),)
        if row.cuts:
            return tuple(content_hash(hashes, row.cuts, piece) for piece in range(row.windows))
        return (hashes[0],)

    def samples(self, row: PlanRow) -> list[np.ndarray]:
        """float32 (n,) at 16 kHz for each window of the row."""
        clips = [load_clip(self._clips[name]) for name in row.utterances]
        if row.cuts:
            return np.split(clips[0], row.cuts)
        pause = np.zeros(round(PAUSE_S * SAMPLE_RATE_HZ), dtype=np.float32)
        joined = clips[:1]
        for clip in clips[1:]:
            joined += [pause, clip]
        return [np.concatenate(joined)]
