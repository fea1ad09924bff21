"""Log-mel features of a clip, window by window, as the checkpoint's own feature extractor computes them."""

from typing import TYPE_CHECKING

import numpy as np

from infra.errors import SpeechError
from tasks.contracts import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    import torch
    from transformers import VoxtralProcessor

MEL_HOP_SAMPLES = 160  # 10 ms, in every Voxtral checkpoint


def windows_of(samples: int, window_samples: int) -> int:
    """How many windows a clip of so many samples fills; at least one."""
    return max(1, -(-samples // window_samples))


def mel_windows(samples: np.ndarray, processor: "VoxtralProcessor", window_samples: int) -> "torch.Tensor":
    """float32 samples (n,) at 16 kHz to features of shape (windows, mel bins, frames); the last window is padded with silence.

    Every frame of that silence is the same, and is computed for less than two seconds of it: what that gives is equal, bit for bit, to
    what the extractor gives for whole windows, in a fifth of the time for a clip of 4 s in a window of 30 s.

    Raises:
        SpeechError: there are no samples.

    """
    if len(samples) == 0:
        raise SpeechError("The clip holds no samples", "Record it again or leave it out")
    extractor = processor.feature_extractor
    windows = windows_of(len(samples), window_samples)
    frames = window_samples // extractor.hop_length
    # Whole seconds, and a frame that hears nothing but silence: matrix products of few columns are rounded in another order.
    whole_s = -(-(len(samples) + extractor.n_fft) // SAMPLE_RATE_HZ)
    padded = extractor(
        samples,
        sampling_rate=SAMPLE_RATE_HZ,
        padding="max_length",
        max_length=min(whole_s * SAMPLE_RATE_HZ, windows * window_samples),
        truncation=False,
        return_tensors="pt",
    )["input_features"][0]
    return with_silence(padded, windows * frames).reshape(extractor.feature_size, windows, frames).transpose(0, 1)


def with_silence(features: "torch.Tensor", frames: int) -> "torch.Tensor":
    """Features (mel bins, n) that end in silence, or fill their window, to (mel bins, frames): the last frame again and again."""
    import torch

    missing = frames - features.shape[1]
    return torch.cat([features, features[:, -1:].expand(-1, missing)], dim=1) if missing else features


def without_silence(features: "torch.Tensor") -> "torch.Tensor":
    """Features (mel bins, frames) up to the first frame after which all are equal: `with_silence` gives them back."""
    differs = (features != features[:, -1:]).any(dim=0).nonzero()
    spoken = int(differs[-1]) + 1 if len(differs) else 0
    return features[:, : spoken + 1].contiguous()
