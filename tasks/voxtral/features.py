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

    Raises:
        SpeechError: there are no samples.

    """
    if len(samples) == 0:
        raise SpeechError("The clip holds no samples", "Record it again or leave it out")
    extractor = processor.feature_extractor
    windows = windows_of(len(samples), window_samples)
    padded = extractor(
        samples,
        sampling_rate=SAMPLE_RATE_HZ,
        padding="max_length",
        max_length=windows * window_samples,
        truncation=False,
        return_tensors="pt",
    )["input_features"][0]
    frames = window_samples // extractor.hop_length
    return padded.reshape(extractor.feature_size, windows, frames).transpose(0, 1)
