"""Floating-point operations of training, by formula: a multiplication and an addition are two.

Counted are matrix products, convolutions and attention, as `torch.utils.flop_counter` counts them (a test compares); norms, activations
and the optimizer are left out, which are under a hundredth at real widths. A product of weights with n inputs costs as much again for the
gradient of its inputs, and once more for that of its weights; frozen weights need the first only, and where nothing before them is
trained, not even that. Attention costs twice its forward pass; kernels that compute its scores again are not charged for it.
"""

from typing import NamedTuple

from tasks.contracts import Method
from tasks.training.options import TrainingOptions
from tasks.voxtral.shape import CONVOLUTION_FRAMES, Shape, adapter_weights


class Batch(NamedTuple):
    """What one forward and backward pass is given."""

    rows: int
    windows: int  # of audio; most rows have one
    length: int  # tokens of a row, padded
    targets: int  # positions of all rows together at which something is learned
    even: bool = False  # no row is padded: attention needs no mask


class Flops(NamedTuple):
    """By part of the model; `layers` and `head` are the language model's."""

    tower: int
    projector: int
    layers: int
    head: int

    @property
    def all(self) -> int:
        """The sum."""
        return sum(self)


def keeps_tower(options: TrainingOptions) -> bool:
    """Whether training leaves the audio tower as it is."""
    return options.method is Method.LORA or options.freeze_audio_tower


def caches_tower(options: TrainingOptions) -> bool:
    """Whether the tower's outputs are computed once."""
    return keeps_tower(options) and options.cache == "tower"


def tower_flops(shape: Shape) -> int:
    """The audio tower's forward pass over one window."""
    positions, width = shape.tower_positions, shape.tower_width
    first = 2 * (2 * positions) * CONVOLUTION_FRAMES * shape.mel_bins * width
    second = 2 * positions * CONVOLUTION_FRAMES * width**2
    return first + second + shape.tower_layers * _tower_layer(shape)


def batch_flops(shape: Shape, options: TrainingOptions, batch: Batch, recompute: bool) -> Flops:
    """Forward and backward pass of a batch; outputs of the tower that are computed once are not in it.

    Args:
        shape: of the model.
        options: what is trained.
        batch: what is given.
        recompute: activation checkpointing.

    """
    return Flops(
        tower=0 if caches_tower(options) else batch.windows * _tower(shape, options, recompute),
        projector=batch.windows * _projector(shape, options),
        layers=batch.rows * _layers(shape, options, batch.length, recompute),
        head=_head(shape, options, batch.targets),
    )


def forward_flops(shape: Shape, options: TrainingOptions, batch: Batch) -> Flops:
    """The forward pass alone."""
    tokens, heard = batch.rows * batch.length, batch.windows * shape.audio_tokens
    return Flops(
        tower=0 if caches_tower(options) else batch.windows * tower_flops(shape),
        projector=heard * (2 * shape.projector + _adapters(shape, options, projector=True)),
        layers=batch.rows * shape.layers * _layer(shape, batch.length) + tokens * _adapters(shape, options),
        head=2 * shape.embeddings * batch.targets,
    )


def _tower_layer(shape: Shape) -> int:
    return 2 * shape.tower_positions * shape.tower_layer_weights + 4 * shape.tower_positions**2 * shape.tower_width


def _tower(shape: Shape, options: TrainingOptions, recompute: bool) -> int:
    forward = tower_flops(shape)
    if keeps_tower(options):
        return forward
    positions, width = shape.tower_positions, shape.tower_width
    no_gradient_of_the_sound = 2 * (2 * positions) * CONVOLUTION_FRAMES * shape.mel_bins * width
    last_product = 2 * positions * width * shape.tower_inner  # its output is kept by nothing: computing again ends before it
    again = shape.tower_layers * (_tower_layer(shape) - last_product) if recompute else 0
    return 3 * forward - no_gradient_of_the_sound + again


def _projector(shape: Shape, options: TrainingOptions) -> int:
    forward = 2 * shape.projector * shape.audio_tokens
    inputs, outputs = shape.projector_widths[0]
    first = 2 * inputs * outputs * shape.audio_tokens
    if options.method is Method.FULL:
        return 3 * forward - (first if keeps_tower(options) else 0)
    if not options.train_projector:
        return forward
    adapters = _adapters(shape, options, projector=True) * shape.audio_tokens
    into_the_tower = 2 * options.lora_rank * inputs * shape.audio_tokens
    return forward + (forward - first) + 3 * adapters - into_the_tower


def _layer(shape: Shape, length: int) -> int:
    return 2 * length * shape.layer_weights + 4 * length**2 * shape.queries


def _layers(shape: Shape, options: TrainingOptions, length: int, recompute: bool) -> int:
    products, attention = 2 * length * shape.layer_weights * shape.layers, 4 * length**2 * shape.queries * shape.layers
    if options.method is Method.FULL:
        last_products = 2 * length * shape.width * shape.inner * shape.layers
        return 3 * (products + attention) + (products + attention - last_products if recompute else 0)
    adapters = _adapters(shape, options) * length
    again = products + attention + adapters if recompute else 0
    return 2 * products + 3 * attention + 3 * adapters + again - _before_the_first(shape, options, length)


def _before_the_first(shape: Shape, options: TrainingOptions, length: int) -> int:
    """What the gradient of the first layer's input would cost, which nobody wants unless the projector is trained."""
    if options.train_projector:
        return 0
    return 2 * length * (shape.width * (shape.queries + 2 * shape.keys) + 3 * options.lora_rank * shape.width)


def _head(shape: Shape, options: TrainingOptions, targets: int) -> int:
    return 2 * shape.embeddings * targets * (3 if options.method is Method.FULL else 2)


def _adapters(shape: Shape, options: TrainingOptions, projector: bool = False) -> int:
    """Forward pass of a token through the adapters of all layers, or of the projector."""
    if options.method is Method.FULL or (projector and not options.train_projector):
        return 0
    layers = adapter_weights(shape, options.lora_rank, projector=False)
    return 2 * (adapter_weights(shape, options.lora_rank, projector=True) - layers if projector else layers)
