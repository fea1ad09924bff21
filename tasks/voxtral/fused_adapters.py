"""LoRA whose product, scale and sum are one operation.

PEFT multiplies by the adapter's second matrix, then scales, then adds: three results as large as the layer's, of which two are kept
for the gradients. Here the product is added while it is computed. The price: a sum is rounded once instead of twice, so that the last
bits differ from PEFT's.
"""

from types import MethodType
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from peft import PeftModel
    from peft.tuners.lora import Linear


def fuse_adapters(model: "PeftModel") -> None:
    """Let plain adapters of a model compute so; DoRA and those on weights in 4 bits stay as PEFT has them."""
    from peft.tuners.lora import Linear

    for layer in model.modules():
        if type(layer) is Linear and not layer.lora_variant:
            layer.forward = MethodType(_forward, layer)


def _forward(self: "Linear", x: torch.Tensor, *arguments: Any, **named: Any) -> torch.Tensor:
    """(..., inputs) to (..., outputs)."""
    if arguments or named or self.disable_adapters or self.merged or len(self.active_adapters) != 1:
        return type(self).forward(self, x, *arguments, **named)
    name = self.active_adapters[0]
    first, second, scale = self.lora_A[name], self.lora_B[name], self.scaling[name]
    result = self.base_layer(x)
    reduced = first(self.lora_dropout[name](self._cast_input_dtype(x, first.weight.dtype)))
    if result.dtype != reduced.dtype:  # weights of another type, without autocast
        return (result + second(reduced) * scale).to(result.dtype)
    added = torch.addmm(result.flatten(0, -2), reduced.flatten(0, -2), second.weight.t(), alpha=scale)
    return added.view(result.shape)
