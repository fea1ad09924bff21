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
_STRIDES, _CHANNELS = (1, 2, 2, 1), (128, 64, 64, 128)  # of the layers
_WIDTH = 128
_BLOCK = 256  # frames


def speech_probabilities(clips: Sequence[np.ndarray]) -> list[np.ndarray]:
    """How probably each frame holds speech.

    Args:
        clips: float32 of shape (n,) each, 16 kHz, in [-1, 1].

    Returns:
        float32 of shape (ceil(n / FRAME),) for each clip.

    """
    weights, scratch = _weights(), _Scratch()
    inputs = [_encoded(clip, weights, scratch) for clip in clips]
    return _recurrent(inputs, weights)


class _Scratch:
    """Memory for one block of frames, small enough for a core's cache, and used again for each."""

    def __init__(self) -> None:
        self.seen = np.empty((_BLOCK, _CONTEXT + FRAME + _CONTEXT), np.float32)
        steps, layers = (self.seen.shape[1] - _FOURIER) // _HOP + 1, []
        for channels, stride in zip((_BINS, *_CHANNELS), (1, *_STRIDES), strict=True):
            steps = -(-steps // stride)
            layers.append(np.empty((_BLOCK, steps + 2, channels), np.float32))  # with a step at both ends that is never looked at
        self.layers = layers


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
    # sigmoid(x) = 0.5 + 0.5 tanh(x / 2), for the first three gates
    halved = np.repeat(np.array([0.5, 1], np.float32), (3 * _WIDTH, _WIDTH))
    gates = {
        "lstm.both": (
            np.concatenate((given[0], recurrent[0]), axis=1) * halved[:, None]
        ).T,  # by columns: a third less time in OpenBLAS
        "lstm.bias": bias[0].reshape(2, -1).sum(axis=0) * halved,
    }
    return stored | kernels | gates


def _encoded(clip: np.ndarray, weights: dict[str, np.ndarray], scratch: _Scratch) -> np.ndarray:
    """One clip before the recurrent part: (frames, 128)."""
    frames = -(-len(clip) // FRAME)
    padded = np.zeros(_CONTEXT + frames * FRAME, np.float32)
    padded[_CONTEXT : _CONTEXT + len(clip)] = clip
    seen = np.lib.stride_tricks.sliding_window_view(padded, _CONTEXT + FRAME)[::FRAME]
    encoded = np.empty((frames, _WIDTH), np.float32)
    for start in range(0, frames, _BLOCK):
        encoded[start : start + _BLOCK] = _encoded_block(seen[start : start + _BLOCK], weights, scratch)
    return encoded


def _encoded_block(frames: np.ndarray, weights: dict[str, np.ndarray], scratch: _Scratch) -> np.ndarray:
    """At most a block of frames with what is seen before them: (n, 576) to (n, 128)."""
    from scipy.fft import rfft

    window = weights["stft.forward_basis_buffer"][:, 0]  # the first layer is a Fourier transform: its row of frequency 0
    seen, *layers = (array[: len(frames)] for array in (scratch.seen, *scratch.layers))
    seen[:, :-_CONTEXT] = frames
    seen[:, -_CONTEXT:] = seen[:, -_CONTEXT - 2 : -2 * _CONTEXT - 2 : -1]  # mirrored at its end
    for place in range(1, layers[0].shape[1] - 1):
        begun = (place - 1) * _HOP
        np.abs(rfft(seen[:, begun : begun + _FOURIER] * window, overwrite_x=True), out=layers[0][:, place])
    for number, stride in enumerate(_STRIDES):
        weight, bias = weights[f"encoder.{number}.weight"], weights[f"encoder.{number}.bias"]
        _convolve(layers[number], weight, bias, stride, layers[number + 1])
    return layers[-1][:, 1]


def _convolve(layer: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int, out: np.ndarray) -> None:
    """ReLU of a convolution with kernel 3: (frames, steps + 2, channels in) to (frames, steps / stride + 2, channels out).

    The first and the last step are empty: what they would be multiplied by is left out.
    """
    frames, padded_steps, channels = layer.shape
    for number, place in enumerate(range(0, padded_steps - 2, stride), start=1):
        first, end = max(place, 1), min(place + 3, padded_steps - 1)
        seen = layer.reshape(frames, -1)[:, first * channels : end * channels]
        heard = seen @ weight[(first - place) * channels : (end - place) * channels]
        heard += bias
        np.maximum(heard, 0, out=out[:, number])


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
        gates = both[:running] @ weights["lstm.both"]
        gates += weights["lstm.bias"]
        np.tanh(gates, out=gates)
        sigmoids = gates[:, : 3 * _WIDTH]
        sigmoids *= 0.5
        sigmoids += 0.5
        let_in, given, kept, new = (gates[:, place : place + _WIDTH] for place in range(0, 4 * _WIDTH, _WIDTH))
        cell[:running] *= kept
        cell[:running] += let_in * new
        both[:running, _WIDTH:] = heard[step, :running] = given * np.tanh(cell[:running])
    spoken = _sigmoid(np.maximum(heard, 0) @ weights["output.weight"][:, 0] + weights["output.bias"])
    found = {index: spoken[:length, row] for row, (index, length) in enumerate(zip(order, lengths, strict=True))}
    return [found[index] for index in range(len(inputs))]


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(0.5 * values)  # the same as 1 / (1 + exp(-x)), which overflows
