"""Which rate each weight learns at."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.contracts import Checkpoint, Method
from tasks.training.footprint import Footprint
from tasks.training.options import TrainingOptions
from tasks.training.trainer import PlannedTrainer, training_arguments
from tasks.voxtral.checkpoint import load_model
from tasks.voxtral.lora import add_adapters, train_every_weight

pytestmark = pytest.mark.fast
RATE = TrainingOptions().learning_rate


def rates(model: Any, options: TrainingOptions, folder: Path) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay of each weight that is trained; none may be trained twice."""
    arguments = training_arguments(folder, options, 2, on_gpu=False, fitting=Footprint(rows=4))
    arguments.eval_strategy = "no"  # type: ignore[assignment]
    trainer = PlannedTrainer(model=model, args=arguments)
    trainer.options = options
    trainer.create_optimizer()
    assert trainer.optimizer is not None
    of = {
        id(weight): (group["lr"], group["weight_decay"]) for group in trainer.optimizer.param_groups for weight in group["params"]
    }
    assert sum(len(group["params"]) for group in trainer.optimizer.param_groups) == len(of)
    return {name: of[id(weight)] for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("dora", [False, True])
def test_second_matrices_of_adapters_learn_faster(tiny: Checkpoint, tmp_path: Path, dora: bool):
    base = load_model(tiny, torch.device("cpu"), torch.float32)
    adapted = add_adapters(base, rank=4, alpha=8, dropout=0.0, projector=True, dora=dora)
    options = TrainingOptions(lora_plus_ratio=8, lora_dora=dora, weight_decay=0.3)
    found = rates(adapted, options, tmp_path)
    assert {rate for name, rate in found.items() if "lora_A" in name} == {(RATE, 0.3)}
    assert {rate for name, rate in found.items() if "lora_B" in name} == {(8 * RATE, 0.3)}
    assert any("magnitude" in name for name in found) is dora
    even = rates(adapted, options.model_copy(update={"lora_plus_ratio": 1}), tmp_path)
    assert set(even.values()) == {(RATE, 0.3)}


def test_every_weight_learns_at_the_same_rate_in_full_fine_tuning(tiny: Checkpoint, tmp_path: Path):
    model = load_model(tiny, torch.device("cpu"), torch.float32)
    train_every_weight(model)
    found = rates(model, TrainingOptions(method=Method.FULL, weight_decay=0.3), tmp_path)
    assert {rate for rate, _ in found.values()} == {RATE}
