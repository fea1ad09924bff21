"""The mean of the weights: what it is, where it is, and that training goes on as if there were none."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tasks.training.average import Average

pytestmark = pytest.mark.fast
DECAY, STEPS = 0.6, 40


def model() -> torch.nn.Module:
    torch.manual_seed(0)
    made = torch.nn.Linear(3, 2)
    made.bias.requires_grad_(False)
    return made


def step(trained: torch.nn.Linear, average: Average, number: int) -> None:
    with torch.no_grad():
        trained.weight += torch.randn(2, 3, generator=torch.Generator().manual_seed(number))
    average.on_step_end(*at(number))


def at(number: int, folder: Path = Path()) -> tuple[Any, ...]:
    """What the Trainer tells at a step."""
    return SimpleNamespace(output_dir=folder), SimpleNamespace(global_step=number, is_world_process_zero=True), None


def test_it_is_the_mean_of_the_weights_the_later_the_more():
    trained = model()
    average, expected, before = Average(trained, DECAY), trained.weight.detach().double(), trained.bias.clone()
    for number in range(1, STEPS + 1):
        step(trained, average, number)
        decay = min(DECAY, number / (10 + number))
        expected = decay * expected + (1 - decay) * trained.weight.detach().double()
    last = trained.weight.detach().clone()
    with average.in_place():
        torch.testing.assert_close(trained.weight.detach().double(), expected, rtol=1e-5, atol=1e-5)
        assert torch.equal(trained.bias, before)
    assert torch.equal(trained.weight, last)


def test_a_training_that_goes_on_has_the_weights_and_the_mean_of_an_undisturbed_one(tmp_path: Path):
    undisturbed, stopped = model(), model()
    averages = Average(undisturbed, DECAY), Average(stopped, DECAY)
    checkpoint = tmp_path / f"checkpoint-{STEPS // 2}"
    checkpoint.mkdir()
    for number in range(1, STEPS // 2 + 1):
        step(undisturbed, averages[0], number)
        step(stopped, averages[1], number)
    with averages[1].in_place():
        kept = {name: weight.clone() for name, weight in stopped.state_dict().items()}
    averages[1].on_save(*at(STEPS // 2, tmp_path))
    resumed = model()
    average = Average(resumed, DECAY)
    resumed.load_state_dict(kept)
    average.go_on_from(checkpoint)
    for number in range(STEPS // 2 + 1, STEPS + 1):
        step(undisturbed, averages[0], number)
        step(resumed, average, number)
    assert torch.equal(resumed.weight, undisturbed.weight)
    with average.in_place(), averages[0].in_place():
        assert torch.equal(resumed.weight, undisturbed.weight)
