"""How long the parts of a training step take on the device that would train: measured, on one layer of each kind with random weights.

The layers are those of the real model and as wide, with the adapters, types and gradients of the training; a step is put together from
them. A batch that would take long is measured with one row and multiplied, the head with a small vocabulary, the optimizer with one
layer's weights, so that the whole takes seconds. Not measured: 4-bit weights, and what a step costs outside the model.
"""

import copy
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from tasks.contracts import Method
from tasks.training.flops import Batch, caches_tower, keeps_tower
from tasks.training.memory import trained_weights
from tasks.training.options import TrainingOptions
from tasks.voxtral.checkpoint import default_dtype
from tasks.voxtral.lora import add_adapters, recompute_activations, train_every_weight
from tasks.voxtral.shape import shape_of

if TYPE_CHECKING:
    import torch
    from transformers import VoxtralConfig

_VOCABULARY = 4096
_REPEATS = 5
_LONG_S = 0.5  # a part is repeated until it has taken so long; what does with one row is not measured with more


class StepTimes(NamedTuple):
    """Seconds on one device."""

    batch_s: float  # forward and backward pass; outputs of the audio tower that are computed once are given
    optimizer_s: float  # clipping gradients and moving weights
    token_s: float  # one more token of every row of a batch, when transcribing
    tower_s: float  # the audio tower over one window


def measure(
    config: "VoxtralConfig", options: TrainingOptions, batch: Batch, device: "torch.device", recompute: bool
) -> StepTimes:
    """Measure a step.

    Args:
        config: of the model that would be trained.
        options: what would be trained.
        batch: the shape of its batches.
        device: the one that would train.
        recompute: activation checkpointing.

    """
    import torch

    with torch.random.fork_rng():
        layers = _Layers(config, options, device, recompute)
        one_token = batch._replace(length=1, even=True)
        return StepTimes(
            batch_s=layers.batch_s(batch),
            optimizer_s=layers.optimizer_s(),
            token_s=layers.language_s(one_token, backward=False) + layers.head_s(batch.rows, backward=False),
            tower_s=layers.tower_s(1, backward=False),
        )


class _Layers:
    """One encoder layer, the projector, one layer of the language model and a small head, ready to be trained."""

    def __init__(self, config: "VoxtralConfig", options: TrainingOptions, device: "torch.device", recompute: bool) -> None:
        import torch
        from transformers import VoxtralForConditionalGeneration

        self._options, self._device, self._shape = options, device, shape_of(config)
        small = copy.deepcopy(config)
        small.audio_config.num_hidden_layers = small.text_config.num_hidden_layers = 1
        small.text_config.vocab_size = min(_VOCABULARY, self._shape.vocabulary)
        self._dtype = default_dtype(device) if options.method is Method.LORA else torch.float32
        with torch.device(device):
            model = VoxtralForConditionalGeneration._from_config(small, dtype=self._dtype)
        self._model = model.model
        self._head = model.lm_head
        if options.method is Method.LORA:
            add_adapters(
                model,
                options.lora_rank,
                options.lora_alpha,
                options.lora_dropout,
                options.train_projector,
                options.lora_rank_stabilised,
                options.lora_dora,
            )
        else:
            train_every_weight(model, audio_tower=not options.freeze_audio_tower)
        if recompute:
            recompute_activations(model)
        model.train()

    def batch_s(self, batch: Batch) -> float:
        """Forward and backward pass of a batch."""
        return (
            (0.0 if caches_tower(self._options) else self.tower_s(batch.windows, backward=True))
            + self.projector_s(batch.windows)
            + self.language_s(batch, backward=True)
            + self.head_s(batch.targets, backward=True)
        )

    def projector_s(self, windows: int) -> float:
        """Forward, and backward where it or what lies before it is trained."""
        size = (windows * self._shape.audio_tokens, self._shape.tower_inner)
        return self._pass_s(self._model.multi_modal_projector, size, into=not keeps_tower(self._options))

    def tower_s(self, windows: int, backward: bool) -> float:
        """All encoder layers over so many windows; backward where they are trained."""
        shape, layer = self._shape, self._model.audio_tower.layers[0]
        trained = backward and not keeps_tower(self._options)

        def seconds(rows: int) -> float:
            size = (rows, shape.tower_positions, shape.tower_width)
            return self._pass_s(lambda given: layer(given, attention_mask=None), size, into=trained, backward=trained)

        return shape.tower_layers * _scaled(seconds, windows)

    def language_s(self, batch: Batch, backward: bool) -> float:
        """All layers of the language model."""
        import torch

        model, layer = self._model.language_model, self._model.language_model.layers[0]
        positions = torch.arange(batch.length, device=self._device)[None]

        def seconds(rows: int) -> float:
            size = (rows, batch.length, self._shape.width)
            mask = None
            if not batch.even:
                mask = (positions <= positions.T).expand(rows, 1, -1, -1)
            rotated = model.rotary_emb(torch.empty(size, dtype=self._dtype, device=self._device), positions)
            return self._pass_s(
                lambda given: layer(given, attention_mask=mask, position_embeddings=rotated), size, backward, backward
            )

        return self._shape.layers * _scaled(seconds, batch.rows)

    def head_s(self, targets: int, backward: bool) -> float:
        """Logits at so many positions."""
        share = self._head.out_features / self._shape.vocabulary
        return self._pass_s(self._head, (targets, self._shape.width), backward, backward) / share

    def optimizer_s(self) -> float:
        """Gradients clipped and all trained weights moved."""
        import torch

        weights = [weight for weight in self._model.language_model.layers.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(weights, fused=True)
        for weight in weights:
            weight.grad = torch.randn_like(weight)

        def step() -> None:
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()

        measured = self._seconds(step)
        self._forget_gradients()
        return measured * trained_weights(self._shape, self._options) / sum(weight.numel() for weight in weights)

    def _pass_s(
        self, module: "Callable[[torch.Tensor], torch.Tensor]", size: tuple[int, ...], into: bool, backward: bool = True
    ) -> float:
        """Forward, and backward where something wants a gradient: weights, or what lies before them (`into`)."""
        import torch

        given = torch.randn(size, dtype=self._dtype, device=self._device, requires_grad=into)

        def run() -> None:
            with torch.set_grad_enabled(backward), torch.autocast(self._device.type, torch.bfloat16, enabled=self._on_gpu):
                made = module(given)
            if made.requires_grad:
                torch.autograd.backward(made, torch.ones_like(made))
                given.grad = None
                self._forget_gradients()

        return self._seconds(run)

    @property
    def _on_gpu(self) -> bool:
        return self._device.type == "cuda"

    def _forget_gradients(self) -> None:
        for weight in (*self._model.parameters(), *self._head.parameters()):
            weight.grad = None

    def _seconds(self, run: Callable[[], None]) -> float:
        """The median of a few runs after a first one, which pays for what is set up once."""
        self._once(run)
        measured_s = [self._once(run)]
        while len(measured_s) < _REPEATS and sum(measured_s) < _LONG_S:
            measured_s.append(self._once(run))
        return statistics.median(measured_s)

    def _once(self, run: Callable[[], None]) -> float:
        import torch

        begun = time.perf_counter()
        run()
        if self._on_gpu:
            torch.cuda.synchronize(self._device)
        return time.perf_counter() - begun


def _scaled(seconds: Callable[[int], float], rows: int) -> float:
    """With so many rows, or where one takes long, in proportion."""
    one = seconds(1)
    return one * rows if rows == 1 or one > _LONG_S else seconds(rows)
