"""A base model in 4 bits, for adapters to be trained on (QLoRA, Dettmers et al. 2023).

The weights of the language model's layers are kept as 4-bit NormalFloat, their scales quantised once more, and are computed with in
bfloat16. Audio tower, projector and lm_head stay as they are: what the tower hears is what it hears in the whole model.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import VoxtralForConditionalGeneration

_NOT_QUANTISED = ["model.audio_tower", "model.multi_modal_projector", "lm_head"]


def quantised_model(folder: Path, device: "torch.device", dtype: "torch.dtype") -> "VoxtralForConditionalGeneration":
    """Load a checkpoint so; nothing of it is to be trained.

    Norms and embeddings of the language model become float32, as peft's prepare_model_for_kbit_training makes them. It does so to
    everything that is not quantised: the rest here is spared, which costs no accuracy and gigabytes.
    """
    import torch
    from peft import prepare_model_for_kbit_training
    from transformers import BitsAndBytesConfig, VoxtralForConditionalGeneration

    model = VoxtralForConditionalGeneration.from_pretrained(
        folder,
        dtype=dtype,
        device_map={"": device},
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
            llm_int8_skip_modules=_NOT_QUANTISED,
        ),
    )
    model.requires_grad_(False)
    prepare_model_for_kbit_training(model.model.language_model, use_gradient_checkpointing=False)
    return model.eval()
