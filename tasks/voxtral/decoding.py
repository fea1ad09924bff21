"""Batched greedy decoding: what a model at hand hears, whether it is evaluated or still being trained.

A transcript may not be longer than speech of its clip's length can be: a model that never stops is cut there instead of at the context's
end.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from infra.errors import ModelError
from tasks.contracts import SAMPLE_RATE_HZ
from tasks.voxtral.prompt import END_TOKEN, PAD_TOKEN, VoxtralPrompt

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import VoxtralForConditionalGeneration

_TOKENS_A_SECOND = 25  # byte-level text of the fastest speech
_TOKENS_AT_LEAST = 16


class Heard(NamedTuple):
    """The transcript of a clip, and whether the model ended it: otherwise it was cut off."""

    text: str
    ended: bool


def longest_transcript(samples: int) -> int:
    """How many tokens the transcript of a clip of so many samples at 16 kHz may have."""
    return _TOKENS_AT_LEAST + int(_TOKENS_A_SECOND * samples / SAMPLE_RATE_HZ)


def decode(
    model: "VoxtralForConditionalGeneration | PeftModel",
    prompt: VoxtralPrompt,
    prompts: Sequence[tuple[int, ...]],
    features: "torch.Tensor",
    limits: Sequence[int],
) -> list[Heard]:
    """Transcribe one batch; draws no random number.

    Args:
        model: in evaluation mode; its audio tower may be replaced by one that is given the tower's outputs.
        prompt: spells what is generated.
        prompts: token ids through [TRANSCRIBE] of each clip.
        features: (windows of all clips, mel bins, frames), or (windows, positions, hidden size) of the tower's outputs.
        limits: how many tokens each transcript may have.

    Raises:
        ModelError: the model's outputs are no numbers, as after a training that diverged.

    """
    import torch
    from transformers import LogitsProcessorList

    length = max(map(len, prompts))
    input_ids = torch.full((len(prompts), length), PAD_TOKEN)
    for row, tokens in enumerate(prompts):
        input_ids[row, -len(tokens) :] = torch.tensor(tokens)
    starts = torch.tensor([length - len(tokens) for tokens in prompts])[:, None]
    generated = model.generate(
        input_ids=input_ids.to(model.device),
        attention_mask=(torch.arange(length)[None, :] >= starts).long().to(model.device),
        input_features=features.to(model.device, model.dtype),
        max_new_tokens=max(limits),
        do_sample=False,
        num_beams=1,
        use_cache=True,  # a Trainer switches it off in the model's configuration
        pad_token_id=PAD_TOKEN,
        logits_processor=LogitsProcessorList([_refuse_nan]),
    )
    made = [row[length : length + limit].tolist() for row, limit in zip(generated, limits, strict=True)]
    return [Heard(prompt.text(tokens), END_TOKEN in tokens) for tokens in made]


def _refuse_nan(_: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
    """The scores (clips, vocabulary) of the next token; of those that are no numbers, the first would always be taken."""
    if scores.isnan().any():
        raise ModelError("its outputs are no numbers (NaN)", "Train it again with a lower learning rate, or look at its weights")
    return scores
