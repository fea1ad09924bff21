"""An adapter merged into its base is a whole model that hears the same."""

import json
from pathlib import Path

import pytest
import torch

from infra.errors import ModelError
from tasks.contracts import Checkpoint, EvaluationReport
from tasks.voxtral.checkpoint import find_checkpoint, load_model
from tasks.voxtral.merge import merge_adapter, split_weights

PROCESSOR = torch.device("cpu")


def test_the_merged_model_computes_what_the_adapter_computes(lora_report: EvaluationReport, tmp_path: Path):
    adapter = lora_report.model.checkpoint
    merge_adapter(adapter, tmp_path)
    assert not (tmp_path / "adapter_config.json").exists()
    assert "quantization_config" not in json.loads((tmp_path / "config.json").read_text())
    merged, beside = (load_model(one, PROCESSOR, torch.float32) for one in (find_checkpoint(str(tmp_path)), adapter))
    tokens = torch.arange(40, 90).reshape(1, -1)
    with torch.inference_mode():
        one, other = (model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits for model in (merged, beside))
        base = load_model(lora_report.model.base, PROCESSOR, torch.float32)(input_ids=tokens).logits
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert (one - base).abs().max() > 0.1, "the adapter must do something"


def test_weights_in_several_files_are_the_same_weights(tiny: Checkpoint, tmp_path: Path):
    for path in tiny.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    split_weights(tmp_path, largest_bytes=2_000_000)
    files = list(tmp_path.glob("*.safetensors"))
    assert len(files) > 1
    assert max(path.stat().st_size for path in files) < 2_100_000
    whole, parts = (load_model(one, PROCESSOR, torch.float32).state_dict() for one in (tiny, find_checkpoint(str(tmp_path))))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_what_is_no_adapter_cannot_be_merged(tiny: Checkpoint, tmp_path: Path):
    with pytest.raises(ModelError, match=r"holds no adapter.*method=lora"):
        merge_adapter(tiny, tmp_path)
