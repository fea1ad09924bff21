"""Speech changed otherwise each time it is heard: its speed, noise, hidden bands and moments.

What is drawn depends on the seed, the epoch and the utterances alone, so that an interrupted run goes on with the same draws.
"""

from typing import TYPE_CHECKING

import numpy as np

from infra.storage import content_hash
from tasks.contracts import SAMPLE_RATE_HZ
from tasks.training.options import TrainingOptions
from tasks.training.plan import PlanRow

if TYPE_CHECKING:
    import torch

_SNR_RANGE_DB = 20.0  # noise is drawn between the lowest allowed ratio and so much above
# SpecAugment (Park et al. 2019), the LibriSpeech basic policy, its 27 of 80 bands scaled to 128: two masks of each kind.
_MASKS, _MOST_BANDS, _MOST_FRAMES, _MOST_FRAMES_SHARE = 2, 43, 100, 0.1


def is_changed(options: TrainingOptions) -> bool:
    """Whether windows are heard otherwise each time."""
    return bool(options.speed_change or options.noise_snr_db is not None or options.spec_augment)


def draw_for(options: TrainingOptions, row: PlanRow) -> np.random.Generator:
    """The row's own source of randomness."""
    return np.random.default_rng(int(content_hash("augment", options.seed, row)[:16], 16))


def changed_samples(samples: np.ndarray, options: TrainingOptions, window_samples: int, draw: np.random.Generator) -> np.ndarray:
    """float32 (n,) played faster or slower, never longer than a window, with white noise added."""
    if options.speed_change:
        import soxr

        slowest = max(1 - options.speed_change, len(samples) / window_samples)
        speed = draw.uniform(min(slowest, 1 + options.speed_change), 1 + options.speed_change)
        samples = soxr.resample(samples, SAMPLE_RATE_HZ * speed, SAMPLE_RATE_HZ, quality="HQ")[:window_samples]
    if options.noise_snr_db is not None:
        below_db = draw.uniform(options.noise_snr_db, options.noise_snr_db + _SNR_RANGE_DB)
        level = float(np.sqrt(np.mean(np.square(samples)))) * 10 ** (-below_db / 20)
        samples = samples + draw.normal(0, level, len(samples)).astype(np.float32)
    return samples


def hide_some(features: "torch.Tensor", draw: np.random.Generator) -> "torch.Tensor":
    """Features (mel bins, frames of speech) with some bands and moments at the middle of their range, 0."""
    changed = features.clone()
    spoken = changed[:, :-1]  # the last frame stands for the silence after it
    most_frames = min(_MOST_FRAMES, int(_MOST_FRAMES_SHARE * spoken.shape[1]))
    for _ in range(_MASKS):
        _hide(spoken, min(_MOST_BANDS, len(spoken)), draw)
        _hide(spoken.T, most_frames, draw)
    return changed


def _hide(rows: "torch.Tensor", most: int, draw: np.random.Generator) -> None:
    width = int(draw.integers(0, most + 1))
    start = int(draw.integers(0, len(rows) - width + 1))
    rows[start : start + width] = 0
