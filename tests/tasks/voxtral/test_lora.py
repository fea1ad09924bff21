"""What full fine-tuning computes, and what it need not."""

import pytest
import torch

from tasks.contracts import Checkpoint
from tasks.voxtral.checkpoint import load_model
from tasks.voxtral.lora import recompute_activations, train_every_weight

pytestmark = pytest.mark.fast


def gradients(tiny: Checkpoint, audio_tower: bool, recompute: bool) -> tuple[dict[str, torch.Tensor], bool]:
    """Of one small example; and whether they had to go through the audio tower."""
    torch.manual_seed(0)
    model = load_model(tiny, torch.device("cpu"), torch.float32).train()
    train_every_weight(model, audio_tower)
    if recompute:
        recompute_activations(model)
    passed: list[bool] = []
    model.model.audio_tower.register_forward_hook(lambda _module, _given, heard: passed.append(heard[0].requires_grad))
    settings = model.config.audio_config
    features = torch.randn(1, settings.num_mel_bins, 2 * settings.max_source_positions)
    tokens = settings.max_source_positions * settings.hidden_size // settings.intermediate_size
    ids = torch.tensor([[1, 3, 25, *([24] * tokens), 4, 34, 100, 2]])
    model(input_ids=ids, input_features=features, labels=ids).loss.backward()
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}, passed[0]


@pytest.mark.parametrize("audio_tower", [True, False])
def test_recomputing_activations_changes_no_gradient_and_spares_a_frozen_tower(tiny: Checkpoint, audio_tower: bool):
    kept, _ = gradients(tiny, audio_tower, recompute=False)
    recomputed, through_tower = gradients(tiny, audio_tower, recompute=True)
    assert through_tower is audio_tower
    assert kept.keys() == recomputed.keys()
    for name, gradient in kept.items():
        torch.testing.assert_close(recomputed[name], gradient)
