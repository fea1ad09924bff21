"""What full fine-tuning computes, and what it need not; what adapters change, and what not."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from infra.errors import ModelError
from tasks.contracts import Checkpoint
from tasks.voxtral.checkpoint import find_checkpoint, load_model
from tasks.voxtral.lora import add_adapters, go_on_from, recompute_activations, train_every_weight, trainable_names
from tasks.voxtral.merge import merge_adapter

pytestmark = pytest.mark.fast


def gradients(
    tiny: Checkpoint, audio_tower: bool, recompute: bool, adapters: bool = False
) -> tuple[dict[str, torch.Tensor], bool]:
    """Of one small example; and whether they had to go through the audio tower."""
    torch.manual_seed(0)
    model = load_model(tiny, torch.device("cpu"), torch.float32).train()
    voxtral = model
    if adapters:
        model = add_adapters(voxtral, rank=4, alpha=8, dropout=0.05, projector=False).train()
    else:
        train_every_weight(model, audio_tower)
    if recompute:
        recompute_activations(model)
    passed: list[bool] = []
    voxtral.model.audio_tower.register_forward_hook(lambda _module, _given, heard: passed.append(heard[0].requires_grad))
    settings = model.config.audio_config
    features = torch.randn(1, settings.num_mel_bins, 2 * settings.max_source_positions)
    tokens = settings.max_source_positions * settings.hidden_size // settings.intermediate_size
    ids = torch.tensor([[1, 3, 25, *([24] * tokens), 4, 34, 100, 2]])
    model(input_ids=ids, input_features=features, labels=ids).loss.backward()
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}, passed[0]


@pytest.mark.parametrize(("audio_tower", "adapters"), [(True, False), (False, False), (False, True)])
def test_recomputing_activations_changes_no_gradient_and_spares_a_frozen_tower(
    tiny: Checkpoint, audio_tower: bool, adapters: bool
):
    kept, _ = gradients(tiny, audio_tower, recompute=False, adapters=adapters)
    recomputed, through_tower = gradients(tiny, audio_tower, recompute=True, adapters=adapters)
    assert through_tower is audio_tower
    assert kept.keys() == recomputed.keys()
    for name, gradient in kept.items():
        torch.testing.assert_close(recomputed[name], gradient)


KINDS = [{}, {"rank_stabilised": True}, {"dora": True}, {"rank_stabilised": True, "dora": True}]


def adapted_model(tiny: Checkpoint, **kind: bool) -> PeftModel:
    """With adapters that do something."""
    model = add_adapters(load_model(tiny, torch.device("cpu"), torch.float32), 4, 8, 0.0, **({"projector": True} | kind))
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.requires_grad:
                weight += 0.05 * torch.randn(weight.shape, generator=draw) * (weight if "magnitude" in name else 1)
    return model.eval()


def saved_adapter(model: PeftModel, tiny: Checkpoint, folder: Path) -> Checkpoint:
    model.save_pretrained(folder)
    for name in ("config.json", "tekken.json", "processor_config.json"):
        shutil.copy(tiny.folder / name, folder)
    return find_checkpoint(str(folder)).model_copy(update={"base": tiny})


def logits(model: torch.nn.Module, tiny: Checkpoint) -> torch.Tensor:
    audio = json.loads((tiny.folder / "config.json").read_text())["audio_config"]
    features = torch.randn(1, 128, 2 * audio["max_source_positions"], generator=torch.Generator().manual_seed(1))
    tokens = audio["max_source_positions"] * audio["hidden_size"] // audio["intermediate_size"]
    ids = torch.tensor([[1, 3, 25, *([24] * tokens), 4, 34, 100, 101]])
    with torch.inference_mode():
        return model(input_ids=ids, input_features=features).logits[:, -3:]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_adapter_trains_nothing_else_and_is_the_same_saved_and_merged(
    kind: dict[str, bool], tiny: Checkpoint, tmp_path: Path
):
    model = adapted_model(tiny, **kind)
    names = trainable_names(model)
    assert all("lora_" in name and "audio_tower" not in name for name in names)
    assert any("magnitude" in name for name in names) is kind.get("dora", False)
    expected = logits(model, tiny)
    adapter = saved_adapter(model, tiny, tmp_path / "adapter")
    reloaded = load_model(adapter, torch.device("cpu"), torch.float32)
    assert torch.equal(logits(reloaded, tiny), expected)
    (tmp_path / "merged").mkdir()
    merge_adapter(adapter, tmp_path / "merged")
    merged = load_model(find_checkpoint(str(tmp_path / "merged")), torch.device("cpu"), torch.float32)
    torch.testing.assert_close(logits(merged, tiny), expected, rtol=1e-5, atol=1e-5)
    assert (logits(load_model(tiny, torch.device("cpu"), torch.float32), tiny) - expected).abs().max() > 0.1


def test_ranks_are_scaled_as_they_are_told(tiny: Checkpoint):
    for kind, scale in (({}, 8 / 4), ({"rank_stabilised": True}, 8 / 2)):
        model = adapted_model(tiny, **kind)
        assert {module.scaling["default"] for module in model.modules() if hasattr(module, "lora_A")} == {scale}


@pytest.mark.parametrize(
    ("option", "kind"), [("lora_rank_stabilised", "rank_stabilised"), ("lora_dora", "dora"), ("train_projector", "projector")]
)
def test_what_goes_on_from_an_adapter_is_of_its_kind(option: str, kind: str, tiny: Checkpoint, tmp_path: Path):
    adapter = saved_adapter(adapted_model(tiny, **{kind: True}), tiny, tmp_path)
    base = load_model(tiny, torch.device("cpu"), torch.float32)
    with pytest.raises(ModelError, match=rf"trained with {option}=True, {option} is False.*Set {option}=True"):
        go_on_from(base, adapter, 4, **{"projector": True, kind: False})
    model = load_model(tiny, torch.device("cpu"), torch.float32)
    assert trainable_names(go_on_from(model, adapter, 4, **{"projector": True, kind: True}))


def test_training_adapters_leaves_every_byte_of_the_base(tiny: Checkpoint):
    model = adapted_model(tiny).train()
    base, adapters = {}, []
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            adapters.append(weight)
        else:
            base[name] = weight.detach().clone()
    optimizer = torch.optim.AdamW(adapters, lr=1e-2, weight_decay=0.1)
    before = logits(model, tiny)
    for _ in range(3):
        model(input_ids=torch.arange(40, 60)[None], labels=torch.arange(40, 60)[None]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert not torch.allclose(logits(model, tiny), before, atol=0.1)
    assert any("audio_tower" in name for name in base)
    for name, weight in model.named_parameters():
        assert name not in base or torch.equal(weight, base[name]), name
