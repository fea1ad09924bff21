"""Logits and cross-entropy at the targets alone, a few rows at a time: training never holds logits that nobody learns from.

With 131,072 tokens, the float32 logits of one position take half a megabyte. As in Liger Kernel's fused linear cross-entropy (Hsu et
al. 2024, arXiv:2410.10989), the gradient at a chunk's logits is computed along with its loss, multiplied into what flows back, and
forgotten; the backward pass only scales. The price: the loss cannot be differentiated twice, and the gradients are computed even if
nobody asks for them, except under no_grad.

Liger's own kernel is not used: it computes every position that it is given, learned from or not, and it needs Triton, hence a GPU.
"""

from collections.abc import Iterator
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.function import once_differentiable

from infra.errors import ModelError
from tasks.voxtral.prompt import IGNORED_LABEL

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import VoxtralForConditionalGeneration
    from transformers.modeling_outputs import CausalLMOutputWithPast

CHUNK_BYTES = 64 << 20  # of float32 logits at a time: 128 positions of 131,072 tokens
_FLOAT32_BYTES = 4


def learn_at_targets(model: "VoxtralForConditionalGeneration | PeftModel") -> None:
    """Let this model, or the one inside its adapter, compute nothing but the loss where it is given labels.

    Labels are (batch, K) for the last K positions; the one at t is predicted by the position before it, so that the first of a row is
    never a target. The loss is the sum of cross-entropies over `num_items_in_batch`, else over the number of targets; without a target
    it is 0. Without labels the model does what it did: it generates.

    Raises:
        ModelError: logits are more than the product with lm_head's weight, because an adapter was put on it, for example. Refused as
            well when the loss is computed: it may have been put there since.

    """
    voxtral = model.get_base_model() if hasattr(model, "get_base_model") else model
    _check_head(voxtral.lm_head)
    voxtral.forward = MethodType(_forward, voxtral)
    voxtral.lm_head.forward = MethodType(_head_forward, voxtral.lm_head)


def sum_of_cross_entropies(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Sum over the rows i of -log softmax(weight @ hidden[i])[targets[i]], float32 ().

    Matrices are multiplied in autocast's type where that is on, else in the weight's; the rest is float32.

    Args:
        hidden: (n, hidden size); n may be 0.
        weight: (vocabulary, hidden size).
        targets: int64 (n,).

    """
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    with torch.autocast(device, enabled=False):
        total: torch.Tensor = _SumOfCrossEntropies.apply(  # type: ignore[no-untyped-call]
            hidden, weight, targets, dtype, torch.is_grad_enabled()
        )
        return total


def _forward(  # the names are looked up: by Trainer, to pass num_items_in_batch, and by generate
    self: "VoxtralForConditionalGeneration",
    input_ids: torch.Tensor | None = None,
    input_features: torch.Tensor | None = None,
    attention_mask: torch.Tensor | None = None,
    position_ids: torch.Tensor | None = None,
    past_key_values: Any = None,
    inputs_embeds: torch.Tensor | None = None,
    labels: torch.Tensor | None = None,
    use_cache: bool | None = None,
    logits_to_keep: int | torch.Tensor = 0,
    num_items_in_batch: torch.Tensor | int | None = None,
    **others: Any,
) -> "CausalLMOutputWithPast":
    from transformers.modeling_outputs import CausalLMOutputWithPast

    given = {
        "input_ids": input_ids,
        "input_features": input_features,
        "attention_mask": attention_mask,
        "position_ids": position_ids,
        "past_key_values": past_key_values,
        "inputs_embeds": inputs_embeds,
        **others,
    }
    if labels is None:
        return type(self).forward(self, **given, use_cache=use_cache, logits_to_keep=logits_to_keep)
    hidden = self.model(**given | {"use_cache": False, "return_dict": True}).last_hidden_state
    following = labels[:, 1:]
    rows, positions = (following != IGNORED_LABEL).nonzero(as_tuple=True)
    targets = following[rows, positions]
    learning = hidden[:, -labels.shape[1] :][rows, positions]
    _check_head(self.lm_head)
    total = self.lm_head(learning, targets)
    count = len(targets) if num_items_in_batch is None else num_items_in_batch
    return CausalLMOutputWithPast(loss=total / torch.as_tensor(count, device=total.device).clamp(min=1))


def _head_forward(self: torch.nn.Linear, hidden: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
    """The loss where targets are given, else logits. Called as a module: FSDP gathers the weight for that, and its gradient afterwards."""
    if targets is None:
        return torch.nn.Linear.forward(self, hidden)
    return sum_of_cross_entropies(hidden, self.weight, targets)


def _check_head(head: torch.nn.Module) -> None:
    """What lm_head does must be a product with its weight; FSDP's own kind of Linear is one, an adapter or 4 bits are none."""
    plain = isinstance(head, torch.nn.Linear) and type(head).forward is torch.nn.Linear.forward and head.bias is None
    if not plain:
        raise ModelError(
            f"lm_head is no plain matrix: {str(head).splitlines()[0]}", "Train without an adapter or a bias on lm_head"
        )


class _SumOfCrossEntropies(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, dtype: torch.dtype, graph: bool
    ) -> torch.Tensor:
        of_hidden, of_weight = (graph and needed for needed in ctx.needs_input_grad[:2])  # no_grad leaves them as they are
        states, head = hidden.to(dtype), weight.to(dtype)
        hidden_gradient = torch.empty_like(hidden) if of_hidden else None
        weight_gradient = torch.zeros_like(weight, dtype=torch.float32) if of_weight else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for chunk in _chunks(len(states), len(head) * _FLOAT32_BYTES):
            logits = (states[chunk] @ head.t()).float()
            loss, sums = _to_exponentials(logits, targets[chunk])
            total += loss
            if of_hidden or of_weight:
                gradient = _to_gradient(logits, sums, targets[chunk]).to(dtype)
                if hidden_gradient is not None:
                    hidden_gradient[chunk] = gradient @ head
                if weight_gradient is not None:
                    _add_product(weight_gradient, gradient, states[chunk])
                del gradient
            del logits  # before the next ones
        ctx.save_for_backward(hidden_gradient, weight_gradient)
        ctx.weight_dtype = weight.dtype
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden_gradient, weight_gradient = ctx.saved_tensors
        return (
            None if hidden_gradient is None else hidden_gradient * scale,
            # In place: it is as large as the weight. Where the graph is kept, torch refuses a second pass.
            None if weight_gradient is None else weight_gradient.mul_(scale).to(ctx.weight_dtype),
            None,
            None,
            None,
        )


def _chunks(rows: int, row_bytes: int) -> Iterator[slice]:
    """Slices of at most CHUNK_BYTES, of at least one row."""
    at_once = max(1, CHUNK_BYTES // row_bytes)
    return (slice(first, first + at_once) for first in range(0, rows, at_once))


def _to_exponentials(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn logits (n, vocabulary) into exp(logits - their maximum), in place; the sum of losses and the exponentials' sums (n, 1)."""
    logits -= logits.amax(dim=1, keepdim=True)
    chosen = logits.gather(1, targets[:, None])
    sums = logits.exp_().sum(dim=1, keepdim=True)
    return (sums.log() - chosen).sum(), sums


def _to_gradient(exponentials: torch.Tensor, sums: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Turn them into the gradient of the losses' sum at the logits, in place: softmax, less 1 at the target."""
    exponentials /= sums
    return exponentials.scatter_add_(1, targets[:, None], torch.full_like(sums, -1))


def _add_product(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    """Add left^T right to a float32 total; of another type, they are multiplied a slice at a time, never making as much as the total."""
    if left.dtype == total.dtype:
        total.addmm_(left.t(), right)
        return
    for rows in _chunks(len(total), total.shape[1] * _FLOAT32_BYTES):
        total[rows] += left[:, rows].t() @ right
