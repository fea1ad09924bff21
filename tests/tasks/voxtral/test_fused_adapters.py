"""Fused adapters compute what PEFT's do."""

from types import MethodType

import pytest
import torch
from peft.tuners.lora import Linear

from tasks.contracts import Checkpoint
from tasks.voxtral.checkpoint import load_model
from tasks.voxtral.lora import add_adapters

pytestmark = pytest.mark.fast


def adapted(tiny: Checkpoint, dora: bool = False) -> list[Linear]:
    """The layers with adapters that do something."""
    torch.manual_seed(0)
    model = add_adapters(load_model(tiny, torch.device("cpu"), torch.float32), 4, 12, 0.0, projector=True, dora=dora)
    layers = [layer for layer in model.modules() if isinstance(layer, Linear)]
    for layer in layers:
        torch.nn.init.normal_(layer.lora_B["default"].weight, std=0.2)
    return layers


def passes(layer: Linear, shape: tuple[int, ...]) -> list[torch.Tensor]:
    """Output, and the gradients of what was given and of both matrices."""
    draw = torch.Generator().manual_seed(1)
    given = torch.randn(*shape, layer.in_features, generator=draw, dtype=torch.float64, requires_grad=True)
    made = layer(given)
    weights = (layer.lora_A["default"].weight, layer.lora_B["default"].weight)
    return [made, *torch.autograd.grad(made.square().sum(), (given, *weights))]


def as_peft(layer: Linear) -> Linear:
    layer.forward = MethodType(Linear.forward, layer)
    return layer


@pytest.mark.parametrize("shape", [(5,), (2, 3)])
def test_outputs_and_gradients_are_those_of_peft(tiny: Checkpoint, shape: tuple[int, ...]):
    layers = [layer.double() for layer in adapted(tiny)]
    fused = [passes(layer, shape) for layer in layers]
    assert all("forward" in vars(layer) for layer in layers)
    for layer, found in zip(layers, fused, strict=True):
        torch.testing.assert_close(found, passes(as_peft(layer), shape))


@pytest.mark.parametrize("autocast", [False, True])
def test_so_they_are_where_the_base_is_bfloat16(tiny: Checkpoint, autocast: bool):
    for layer in adapted(tiny):
        layer.base_layer.bfloat16()
        given = torch.randn(2, 3, layer.in_features, dtype=torch.bfloat16)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found, expected = layer(given), as_peft(layer)(given)
        assert found.dtype is torch.bfloat16
        torch.testing.assert_close(found, expected, atol=0.03, rtol=0.03)


def test_adapters_that_are_off_or_of_another_kind_are_left_alone(tiny: Checkpoint):
    layer, given = adapted(tiny)[0], torch.randn(2, 3, 192)
    layer.enable_adapters(False)
    assert torch.equal(layer(given), layer.base_layer(given))
    assert not ["forward" for layer in adapted(tiny, dora=True) if "forward" in vars(layer)]
