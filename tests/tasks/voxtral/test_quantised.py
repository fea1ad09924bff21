"""A base in 4 bits: bitsandbytes computes it on a processor too, so that this is tested wherever it is installed."""

import pytest
import torch

from tasks.contracts import Checkpoint
from tasks.voxtral.checkpoint import load_model
from tasks.voxtral.lora import add_adapters, trainable_names

bitsandbytes = pytest.importorskip("bitsandbytes", reason="the extra `gpu` is not installed")
pytestmark = pytest.mark.fast
CPU = torch.device("cpu")


def test_only_the_language_models_layers_are_in_four_bits_and_only_adapters_are_trained(tiny: Checkpoint):
    whole, model = load_model(tiny, CPU, torch.bfloat16), load_model(tiny, CPU, torch.bfloat16, quantised=True)
    for part in ("model.audio_tower", "model.multi_modal_projector", "lm_head"):
        expected, found = whole.get_submodule(part).state_dict(), model.get_submodule(part).state_dict()
        assert expected.keys() == found.keys()
        assert all(torch.equal(weight, found[name]) for name, weight in expected.items())
    layers = [name for name, module in model.named_modules() if isinstance(module, bitsandbytes.nn.Linear4bit)]
    assert len(layers) == 7 * len(model.model.language_model.layers)
    assert all("language_model.layers" in name for name in layers)
    adapted = add_adapters(model, 4, 8, 0.0, projector=True).train()
    assert not [name for name in trainable_names(adapted) if "lora_" not in name or "audio_tower" in name]
    audio = model.config.audio_config
    features = torch.randn(1, audio.num_mel_bins, 2 * audio.max_source_positions)
    tokens = audio.max_source_positions * audio.hidden_size // audio.intermediate_size
    ids = torch.tensor([[1, 3, 25, *([24] * tokens), 4, 34, 100, 2]])
    with torch.autocast("cpu", torch.bfloat16):
        loss = adapted(input_ids=ids, input_features=features.bfloat16(), labels=ids).loss
        reference = whole(input_ids=ids, input_features=features.bfloat16(), labels=ids).loss
    loss.backward()
    assert loss.item() == pytest.approx(reference.item(), rel=0.1)
    assert all(weight.grad is not None for weight in adapted.parameters() if weight.requires_grad)
