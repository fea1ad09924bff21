"""Where somebody speaks: Silero VAD, its published weights on all frames of many clips at once.

The package's own models go frame by frame, or clip by clip through ONNX; what they compute is computed here with matrix products, the
recurrent part for all clips together: three times as fast on a CPU core, without torch in the worker processes. A test holds both equal.

Source: Silero Team, https://github.com/snakers4/silero-vad (MIT), version 6, the network for 16 kHz.
"""

from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import distribution

import numpy as np

from tasks.contracts import SAMPLE_RATE_HZ

FRAME = 512  # samples that one probability stands for: 32 ms
FRAME_S = FRAME / SAMPLE_RATE_HZ
_CONTEXT = 64  # samples before a frame that are seen with it
_FOURIER, _HOP, _BINS = 256, 128, 129
_STRIDES = (1, 2, 2, 1)
_WIDTH = 128


def speech_probabilities(clips: Sequence[np.ndarray]) -> list[np.ndarray]:
    """How probably each frame holds speech.

    Args:
        clips: float32 of shape (n,) each, 16 kHz, in [-1, 1].

    Returns:
        float32 of shape (ceil(n / FRAME),) for each clip.

    """
    weights = _weights()
    inputs = [_encoded(clip, weights) for clip in clips]
    return _recurrent(inputs, weights)


@lru_cache(maxsize=1)
def _weights() -> dict[str, np.ndarray]:
    """Kernels as matrices of shape (kernel * channels in, channels out), the rest as it is stored; by name."""
    import onnx
    from onnx.numpy_helper import to_array

    network = distribution("silero-vad").locate_file("silero_vad/data/silero_vad_16k_sequence.onnx")  # importing it imports torch
    graph = onnx.load(str(network)).graph
    stored = {tensor.name: to_array(tensor) for tensor in graph.initializer}
    lstm = next(node for node in graph.node if node.op_type == "LSTM")
    kernels = {
        name: np.ascontiguousarray(value.transpose(2, 1, 0).reshape(-1, len(value)))
        for name, value in stored.items()
        if value.ndim == 3 and name not in lstm.input
    }
    given, recurrent, bias = (stored[name] for name in lstm.input[1:4])
    gates = {
        "lstm.both": np.concatenate((given[0], recurrent[0]), axis=1).T.copy(),
        "lstm.bias": bias[0].reshape(2, -1).sum(axis=0),
    }
    return stored | kernels | gates


def _encoded(clip: np.ndarray, weights: dict[str, np.ndarray]) -> np.ndarray:
    """One clip before the recurrent part: (frames, 128)."""
    from scipy.fft import rfft

    frames = -(-len(clip) // FRAME)
    window = weights["stft.forward_basis_buffer"][
        :, 0
    ]  # the network's first layer is a Fourier transform: its row of frequency 0
    padded = np.zeros(_CONTEXT + frames * FRAME, np.float32)
    padded[_CONTEXT : _CONTEXT + len(clip)] = clip
    seen = np.empty((frames, _CONTEXT + FRAME + _CONTEXT), np.float32)
    seen[:, :-_CONTEXT] = np.lib.stride_tricks.sliding_window_view(padded, _CONTEXT + FRAME)[::FRAME]
    seen[:, -_CONTEXT:] = seen[:, -_CONTEXT - 2 : -2 * _CONTEXT - 2 : -1]  # mirrored at its end
    steps = range(0, seen.shape[1] - _FOURIER + 1, _HOP)
    layer = np.zeros((frames, len(steps) + 2, _BINS), np.float32)  # with an empty step at both ends, as all layers
    for place, begun in enumerate(steps, start=1):
        np.abs(rfft(seen[:, begun : begun + _FOURIER] * window), out=layer[:, place])
    for number, stride in enumerate(_STRIDES):
        layer = _convolved(layer, weights[f"encoder.{number}.weight"], weights[f"encoder.{number}.bias"], stride)
    return layer[:, 1]


def _convolved(layer: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int) -> np.ndarray:
    """ReLU of a convolution with kernel 3: (frames, steps + 2, channels in) to (frames, steps / stride + 2, channels out)."""
    frames, padded_steps, channels = layer.shape
    places = range(0, padded_steps - 2, stride)
    out = np.zeros((frames, len(places) + 2, len(bias)), np.float32)
    for number, place in enumerate(places, start=1):
        seen = layer.reshape(frames, -1)[:, place * channels : (place + 3) * channels]
        np.maximum(seen @ weight + bias, 0, out=out[:, number])
    return out


def _recurrent(inputs: Sequence[np.ndarray], weights: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The LSTM cell and the last layer, for all clips side by side, the longest first so that those that ended are left out."""
    order = sorted(range(len(inputs)), key=lambda index: -len(inputs[index]))
    lengths = [len(inputs[index]) for index in order]
    heard = np.zeros((max(lengths, default=0), len(inputs), _WIDTH), np.float32)
    for row, index in enumerate(order):
        heard[: lengths[row], row] = inputs[index]
    both = np.zeros((len(inputs), 2 * _WIDTH), np.float32)  # what is given, and what was hidden
    cell = np.zeros((len(inputs), _WIDTH), np.float32)
    running = len(order)
    for step in range(len(heard)):
        while lengths[running - 1] <= step:
            running -= 1
        both[:running, :_WIDTH] = heard[step, :running]
        gates = both[:running] @ weights["lstm.both"] + weights["lstm.bias"]
        opened = _sigmoid(gates[:, : 3 * _WIDTH])
        let_in, given, kept = (opened[:, place * _WIDTH : (place + 1) * _WIDTH] for place in range(3))
        cell[:running] = kept * cell[:running] + let_in * np.tanh(gates[:, 3 * _WIDTH :])
        both[:running, _WIDTH:] = heard[step, :running] = given * np.tanh(cell[:running])
    spoken = _sigmoid(np.maximum(heard, 0) @ weights["output.weight"][:, 0] + weights["output.bias"])
    found = {index: spoken[:length, row] for row, (index, length) in enumerate(zip(order, lengths, strict=True))}
    return [found[index] for index in range(len(inputs))]


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(0.5 * values)  # the same as 1 / (1 + exp(-x)), which overflows
