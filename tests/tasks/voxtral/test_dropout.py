"""Dropout of adapters: as torch's, but for which elements it hides."""

import pytest
import torch

from tasks.contracts import Checkpoint
from tasks.voxtral.checkpoint import load_model
from tasks.voxtral.dropout import QuickDropout
from tasks.voxtral.lora import add_adapters

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.0, 0.05, 0.3])
def test_it_hides_its_share_and_scales_the_rest_in_both_passes(p: float, dtype: torch.dtype):
    torch.manual_seed(0)
    given = torch.ones(101, 997, dtype=dtype, requires_grad=True)
    made = QuickDropout(p)(given)
    made.sum().backward()
    kept = made != 0
    assert made.dtype is dtype
    assert kept.float().mean() == pytest.approx(1 - p, abs=0.004)
    for rows in (kept.float().mean(dim=0), kept.float().mean(dim=1)):
        assert rows.std() == pytest.approx((p * (1 - p) / (kept.numel() / len(rows))) ** 0.5, rel=0.15, abs=1e-6), "no pattern"
    torch.testing.assert_close(made, kept.to(dtype) / (1 - p))
    assert torch.equal(given.grad, made)


def test_it_follows_torchs_generator_and_does_nothing_where_nothing_is_trained():
    dropout, given = QuickDropout(0.5), torch.randn(7, 5, 3)
    torch.manual_seed(1)
    first, second = dropout(given), dropout(given)
    torch.manual_seed(1)
    assert torch.equal(dropout(given), first)
    assert not torch.equal(first, second)
    before = torch.random.get_rng_state()
    assert dropout.eval()(given) is given
    assert torch.equal(torch.random.get_rng_state(), before)


def test_every_adapter_has_it(tiny: Checkpoint):
    adapted = add_adapters(load_model(tiny, torch.device("cpu"), torch.float32), 4, 8, 0.1, projector=True)
    dropouts = [module for name, module in adapted.named_modules() if name.endswith("lora_dropout.default")]
    assert len(dropouts) == 7 * len(adapted.get_base_model().model.language_model.layers) + 2
    assert all(type(dropout) is QuickDropout and dropout.p == 0.1 for dropout in dropouts)
