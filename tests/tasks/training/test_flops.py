"""The formulas against torch's own counter, on the shipped architecture."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import VoxtralForConditionalGeneration

from tasks.training.flops import Batch, batch_flops, forward_flops, tower_flops
from tasks.training.options import TrainingOptions
from tasks.voxtral.lora import add_adapters, recompute_activations, train_every_weight, trainable_names
from tasks.voxtral.shape import shape_of
from tasks.voxtral.tiny import tiny_config
from tests.builders.shapes import mini_3b_config

pytestmark = pytest.mark.fast
ROWS, LENGTH, KEPT = 3, 67, 13
BATCH = Batch(rows=ROWS, windows=ROWS, length=LENGTH, targets=ROWS * KEPT)
LORA = TrainingOptions(lora_rank=4, cache="off")
FULL = TrainingOptions(method="full", cache="off")


def counted(options: TrainingOptions, recompute: bool) -> tuple[int, int]:
    """What the counter sees of a forward pass, and of one with its backward pass."""
    # eager: the counter does not know the processor's fused attention
    model = VoxtralForConditionalGeneration._from_config(tiny_config(), attn_implementation="eager")
    if options.method == "lora":
        model = add_adapters(model, options.lora_rank, options.lora_alpha, options.lora_dropout, options.train_projector)
    else:
        train_every_weight(model, audio_tower=not options.freeze_audio_tower)
    if recompute:
        recompute_activations(model)
    ids = torch.full((ROWS, LENGTH), 40)
    ids[:, 3:53] = 24
    given = {"input_ids": ids, "input_features": torch.randn(ROWS, 128, 400), "labels": ids[:, -KEPT:], "logits_to_keep": KEPT}
    model.train()
    with FlopCounterMode(display=False) as forward:
        loss = model(**given).loss
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    return forward.get_total_flops(), forward.get_total_flops() + backward.get_total_flops()


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        LORA,
        LORA.model_copy(update={"train_projector": True}),
        FULL,
        FULL.model_copy(update={"freeze_audio_tower": True}),
    ],
    ids=["lora", "lora with projector", "full", "full behind a frozen tower"],
)
def test_the_formula_counts_what_torch_counts(options: TrainingOptions, recompute: bool):
    forward, both = counted(options, recompute)
    shape = shape_of(tiny_config())
    assert forward_flops(shape, options, BATCH).all == forward
    assert batch_flops(shape, options, BATCH, recompute).all == pytest.approx(both, rel=0.005 if recompute else 1e-9)


def test_a_tower_whose_outputs_are_kept_costs_a_step_nothing():
    shape = shape_of(tiny_config())
    cached = LORA.model_copy(update={"cache": "tower"})
    live, kept = (batch_flops(shape, options, BATCH, recompute=False) for options in (LORA, cached))
    assert (live.tower, kept.tower) == (ROWS * tower_flops(shape), 0)
    assert live[1:] == kept[1:]
    assert batch_flops(shape, FULL.model_copy(update={"cache": "tower"}), BATCH, recompute=False).tower > 0, "it is trained"


def test_parameters_are_those_of_the_models():
    tiny = VoxtralForConditionalGeneration._from_config(tiny_config())
    assert shape_of(tiny_config()).all == sum(weight.numel() for weight in tiny.parameters())
    assert shape_of(tiny_config()).tower == sum(weight.numel() for weight in tiny.model.audio_tower.parameters())
    with torch.device("meta"):
        mini = VoxtralForConditionalGeneration(mini_3b_config())
    shape = shape_of(mini_3b_config())
    assert shape.all == sum(weight.numel() for weight in mini.parameters()) == 4_676_271_104
    assert shape.audio_tokens == 375
    train_every_weight(mini, audio_tower=False)
    trained = sum(weight.numel() for name, weight in mini.named_parameters() if name in set(trainable_names(mini)))
    assert trained == shape.all - shape.tower
