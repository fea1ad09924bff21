"""The formula against what an H200 took (docs/performance.md), against autograd's own tensors, and what is decided by it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import VoxtralForConditionalGeneration

from infra.errors import TrainingError
from tasks.training.flops import Batch
from tasks.training.memory import GIBIBYTE, available_bytes, decides_to_recompute, memory_of, trained_weights
from tasks.training.options import TrainingOptions
from tasks.voxtral.lora import add_adapters, train_every_weight
from tasks.voxtral.shape import shape_of
from tasks.voxtral.tiny import tiny_config
from tests.builders.shapes import mini_3b_config

pytestmark = pytest.mark.fast
MINI = shape_of(mini_3b_config())
TINY = shape_of(tiny_config())
LORA = TrainingOptions(cache="off", lora_dropout=0.05)  # the benchmark keeps the tower on the GPU
FULL = TrainingOptions(method="full", freeze_audio_tower=True, cache="off")
H200_BYTES, A100_BYTES, L40S_BYTES = 140 * GIBIBYTE, 80 * GIBIBYTE, 48 * GIBIBYTE


def windows(count: int) -> Batch:
    """Of 30 s, with transcripts of 24 tokens, as the benchmark has them."""
    return Batch(rows=count, windows=count, length=405, targets=25 * count, even=True)


@pytest.mark.parametrize(
    ("options", "batch_size", "measured_gib"),
    [(LORA, 1, 11.3), (LORA, 4, 17.4), (LORA, 8, 25.5), (LORA, 16, 41.9), (FULL, 1, 62.7), (FULL, 4, 62.7)],
)
def test_a_gpu_took_what_the_formula_says(options: TrainingOptions, batch_size: int, measured_gib: float):
    recompute = options is FULL
    memory = memory_of(MINI, options, windows(batch_size), on_gpu=True, recompute=recompute)
    assert memory.peak(accumulates=False) / GIBIBYTE == pytest.approx(measured_gib, rel=0.03)


def kept_bytes(call: Callable[[], object], model: torch.nn.Module) -> int:
    """Of what autograd keeps for the backward pass, without weights."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        call()
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in weights)


@pytest.mark.parametrize("options", [LORA, TrainingOptions(method="full", cache="off")], ids=["lora", "full"])
def test_activations_are_what_autograd_keeps(options: TrainingOptions):
    model = VoxtralForConditionalGeneration._from_config(tiny_config())
    if options.method == "lora":
        add_adapters(model, options.lora_rank, options.lora_alpha, options.lora_dropout, options.train_projector)
    else:
        train_every_weight(model)
    batch = Batch(rows=4, windows=4, length=67, targets=4 * 13, even=True)
    features = torch.randn(4, 128, 400)
    embedded = torch.randn(4, 67, 192, requires_grad=True)

    def forward() -> object:
        heard = model.model.audio_tower(features) if options.method == "full" else None
        return heard, model.model.language_model(inputs_embeds=embedded, use_cache=False)

    model.train()
    expected = memory_of(TINY, options, batch, on_gpu=False, recompute=False).activations
    assert expected == pytest.approx(kept_bytes(forward, model), rel=0.1)


def test_only_what_would_not_fit_is_computed_twice():
    assert not decides_to_recompute(MINI, LORA, windows(16), on_gpu=True, device_bytes=L40S_BYTES)
    assert decides_to_recompute(MINI, LORA, windows(32), on_gpu=True, device_bytes=L40S_BYTES)
    assert not decides_to_recompute(MINI, FULL, windows(4), on_gpu=True, device_bytes=H200_BYTES)
    assert decides_to_recompute(MINI, FULL, windows(16), on_gpu=True, device_bytes=A100_BYTES)
    accumulating = FULL.model_copy(update={"gradient_accumulation": 2})
    assert decides_to_recompute(MINI, accumulating, windows(4), on_gpu=True, device_bytes=A100_BYTES), "gradients stay"
    for asked in ("on", "off"):
        options = LORA.model_copy(update={"activation_checkpointing": asked})
        for batch_size in (1, 256):
            recompute = decides_to_recompute(MINI, options, windows(batch_size), on_gpu=True, device_bytes=L40S_BYTES)
            assert recompute == (asked == "on")


def test_computing_twice_saves_what_it_is_for():
    kept, again = (memory_of(MINI, LORA, windows(16), on_gpu=True, recompute=recompute) for recompute in (False, True))
    assert again.fixed == kept.fixed
    assert again.activations < kept.activations / 10


def test_what_fits_at_no_batch_size_is_refused_with_figures_and_ways_out():
    with pytest.raises(TrainingError) as told:
        decides_to_recompute(MINI, FULL, windows(1), on_gpu=True, device_bytes=L40S_BYTES)
    assert (
        "takes 62.6 GiB before the first window (weights 17.4 GiB, gradients 15.0 GiB, optimizer 30.1 GiB)" in told.value.problem
    )
    assert "the GPU has 48.0 GiB" in told.value.problem
    assert "or method=lora, or optimizer=adamw_8bit" in told.value.fix
    eight_bits = FULL.model_copy(update={"optimizer": "adamw_8bit"})
    decides_to_recompute(MINI, eight_bits, windows(1), on_gpu=True, device_bytes=L40S_BYTES)
    with pytest.raises(TrainingError, match="or quantise_base=True"):
        decides_to_recompute(MINI, LORA, windows(1), on_gpu=True, device_bytes=8 * GIBIBYTE)
    quantised = LORA.model_copy(update={"quantise_base": True})
    decides_to_recompute(MINI, quantised, windows(1), on_gpu=True, device_bytes=8 * GIBIBYTE)
    with pytest.raises(TrainingError, match="the machine has 8") as on_a_processor:
        decides_to_recompute(MINI, LORA, windows(1), on_gpu=False, device_bytes=8 * GIBIBYTE)
    assert "quantise_base" not in on_a_processor.value.fix, "it needs CUDA"


def test_a_tower_whose_outputs_are_kept_leaves_the_gpu():
    cached = LORA.model_copy(update={"cache": "tower"})
    there, gone = (memory_of(MINI, options, windows(1), on_gpu=True, recompute=False).weights for options in (LORA, cached))
    assert there - gone == 2 * MINI.tower


def test_trained_weights_are_counted_as_the_model_has_them():
    model = VoxtralForConditionalGeneration._from_config(tiny_config())
    projector = LORA.model_copy(update={"train_projector": True, "lora_rank": 8})
    adapted = add_adapters(model, 8, 16, 0.0, projector=True)
    assert trained_weights(TINY, projector) == sum(w.numel() for w in adapted.parameters() if w.requires_grad)


def test_the_memory_that_linux_can_give_is_read(tmp_path: Path):
    (tmp_path / "meminfo").write_text("MemTotal:       24000000 kB\nMemAvailable:    5000000 kB\nHugePages_Total:       0\n")
    assert available_bytes(tmp_path / "meminfo") == 5_000_000 * 1024
    assert available_bytes(tmp_path / "none") > 0
