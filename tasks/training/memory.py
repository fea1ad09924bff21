"""Memory of a training on one device, by formula, and whether activations have to be computed twice to fit.

A step has two high points: the end of the forward pass, when all activations are held, and the end of the backward pass, when all
gradients are. What is held in both: weights and the optimizer's state. Counted is what autograd keeps of transformers' layers with SDPA
attention and of peft's adapters, tensor by tensor (seen with `torch.autograd.graph.saved_tensors_hooks`), and under autocast the copies
in bfloat16 of trained weights, which live as long as the forward pass. Small things are left out: rotary tables, masks, embeddings, the
frozen tower's passing tensors, DoRA's second output. Against what an H200 took (docs/performance.md) this is within 3 %.

Not counted is what the libraries and the driver take for themselves, and what the allocator loses: a tenth of a device is left for that.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import TrainingError
from tasks.contracts import Contract, Method
from tasks.training.flops import Batch, caches_tower, keeps_tower
from tasks.training.options import TrainingOptions
from tasks.voxtral.shape import Shape, adapter_weights

if TYPE_CHECKING:
    import torch

USABLE_SHARE = 0.9
GIBIBYTE = 1 << 30
_FLOAT32_BYTES, _BFLOAT16_BYTES = 4, 2
_FOUR_BITS_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)  # NF4: an 8-bit scale for every 64 weights, a float32 one for every 256 scales
_OPTIMIZER_BYTES = {"adamw": 8, "adamw_8bit": 2}  # two moments a weight
_HEAD_BYTES = 3 * (64 << 20)  # logits of some targets at a time, in float32, their bfloat16, their gradient
_CPU_MASK_BYTES, _GPU_MASK_BYTES = 4, 1  # dropout's memory of what it hid, an element


class Memory(Contract):
    """Bytes that a training takes of its device at its high point."""

    weights: int
    gradients: int
    optimizer: int
    activations: int  # and what else only the forward pass holds: copies that autocast makes, the head's gradient

    @property
    def fixed(self) -> int:
        """What no batch size changes."""
        return self.weights + self.gradients + self.optimizer

    def peak(self, accumulates: bool) -> int:
        """The higher of the two; where gradients are added up, they are there in the forward pass too."""
        together = self.gradients + self.activations if accumulates else max(self.gradients, self.activations)
        return self.weights + self.optimizer + together


def trained_weights(shape: Shape, options: TrainingOptions) -> int:
    """How many parameters training changes."""
    if options.method is Method.LORA:
        return adapter_weights(shape, options.lora_rank, options.train_projector, options.lora_dora)
    return shape.all - (shape.tower if keeps_tower(options) else shape.positions_table)


def memory_of(shape: Shape, options: TrainingOptions, batch: Batch, on_gpu: bool, recompute: bool) -> Memory:
    """What training takes with such batches.

    On a GPU, arithmetic is bfloat16 by autocast, and so are the weights unless all of them are trained; elsewhere all is float32.
    """
    trained = trained_weights(shape, options)
    during_forward = 0
    if options.method is Method.FULL:
        during_forward = _FLOAT32_BYTES * shape.embeddings  # the gradient of the head, which is computed with the loss
        during_forward += _BFLOAT16_BYTES * (trained - shape.embeddings) if on_gpu else 0
    return Memory(
        weights=_weights_bytes(shape, options, on_gpu),
        gradients=_FLOAT32_BYTES * trained,
        optimizer=(_OPTIMIZER_BYTES[options.optimizer] + (_FLOAT32_BYTES if options.averages else 0)) * trained,
        activations=during_forward + _activations_bytes(shape, options, batch, on_gpu, recompute),
    )


def decides_to_recompute(shape: Shape, options: TrainingOptions, batch: Batch, on_gpu: bool, device_bytes: int) -> bool:
    """Whether activations are computed twice: as the options say, else where they would not fit.

    Raises:
        TrainingError: weights, gradients and the optimizer's state alone are more than the device has.

    """
    memory = memory_of(shape, options, batch, on_gpu, recompute=False)
    if memory.fixed > device_bytes:
        raise TrainingError(
            f"Training takes {_gib(memory.fixed)} before the first window (weights {_gib(memory.weights)}, gradients "
            f"{_gib(memory.gradients)}, optimizer {_gib(memory.optimizer)}), and the {'GPU' if on_gpu else 'machine'} has "
            f"{_gib(device_bytes)}",
            f"Use a device with more memory{_ways_out(options, on_gpu)}; a smaller batch_size does not help",
        )
    if options.activation_checkpointing != "auto":
        return options.activation_checkpointing == "on"
    return memory.peak(options.gradient_accumulation > 1) > USABLE_SHARE * device_bytes


def device_bytes(device: "torch.device") -> int:
    """Memory of a GPU, or what this machine still has to give."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return available_bytes(Path("/proc/meminfo"))


def available_bytes(meminfo: Path) -> int:
    """What Linux could give without swapping; all that there is where no Linux tells."""
    if not meminfo.is_file():
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024


def _ways_out(options: TrainingOptions, on_gpu: bool) -> str:
    ways = []
    if options.method is Method.FULL:
        ways.append("method=lora")
        ways += [] if options.freeze_audio_tower else ["freeze_audio_tower=True"]
        ways += ["optimizer=adamw_8bit"] if on_gpu and options.optimizer == "adamw" else []
    elif on_gpu and not options.quantise_base:
        ways.append("quantise_base=True")
    return "".join(f", or {way}" for way in ways)


def _gib(size: int) -> str:
    return f"{size / GIBIBYTE:.1f} GiB"


def _weights_bytes(shape: Shape, options: TrainingOptions, on_gpu: bool) -> int:
    """A frozen tower whose outputs are computed once leaves the GPU afterwards."""
    loaded = shape.all - (shape.tower if on_gpu and caches_tower(options) else 0)
    if options.method is Method.FULL:
        return _FLOAT32_BYTES * loaded
    held = (_BFLOAT16_BYTES if on_gpu else _FLOAT32_BYTES) * loaded
    if options.quantise_base:
        held -= int((_BFLOAT16_BYTES - _FOUR_BITS_BYTES) * shape.layers * shape.layer_weights)
        held += (_FLOAT32_BYTES - _BFLOAT16_BYTES) * shape.embeddings  # see quantised_model
    return held + _FLOAT32_BYTES * trained_weights(shape, options)


def _activations_bytes(shape: Shape, options: TrainingOptions, batch: Batch, on_gpu: bool, recompute: bool) -> int:
    residual = _BFLOAT16_BYTES if on_gpu and options.method is Method.LORA else _FLOAT32_BYTES
    tokens = batch.rows * batch.length
    a_layer = tokens * _layer_bytes(shape, options, on_gpu, batch.even)
    held = _held(shape.layers, a_layer, tokens * shape.width * residual, recompute)
    if not keeps_tower(options):
        positions = batch.windows * shape.tower_positions
        encoder_layer = positions * _tower_layer_bytes(shape, on_gpu)
        held += _held(shape.tower_layers, encoder_layer, positions * shape.tower_width * _FLOAT32_BYTES, recompute)
    computed = _BFLOAT16_BYTES if on_gpu else _FLOAT32_BYTES
    logits = batch.targets * shape.vocabulary * (computed + 2 * _FLOAT32_BYTES)
    return held + min(logits, _HEAD_BYTES)


def _held(layers: int, a_layer: int, its_input: int, recompute: bool) -> int:
    """All of every layer, or its input alone and all of one."""
    return layers * its_input + a_layer if recompute else layers * a_layer


def _layer_bytes(shape: Shape, options: TrainingOptions, on_gpu: bool, even: bool) -> int:
    """What autograd keeps of a token in one layer of the language model."""
    computed = _BFLOAT16_BYTES if on_gpu else _FLOAT32_BYTES
    keys = shape.keys if even else shape.queries  # with a mask, each query head gets its own copy
    attention = computed * 2 * (shape.queries + keys) + _FLOAT32_BYTES * shape.heads
    norms = 2 * _FLOAT32_BYTES * shape.width
    gates = 3 * computed * shape.inner
    if options.method is Method.FULL:
        inputs = 5 if on_gpu else 2  # autocast casts the input of each of five matrices anew
        return attention + 2 * norms + gates + computed * (inputs * shape.width + shape.inner)
    mask = (_GPU_MASK_BYTES if on_gpu else _CPU_MASK_BYTES) if options.lora_dropout else 0
    return attention + norms + gates + (computed + mask) * sum(inputs for inputs, _ in shape.layer_widths)


def _tower_layer_bytes(shape: Shape, on_gpu: bool) -> int:
    """What autograd keeps of a position in one encoder layer that is trained."""
    if on_gpu:
        return 2 * _FLOAT32_BYTES * shape.tower_width + _BFLOAT16_BYTES * (9 * shape.tower_width + 2 * shape.tower_inner)
    return _FLOAT32_BYTES * (9 * shape.tower_width + 2 * shape.tower_inner)
