"""What the public fine-tuning recipe gets wrong, each with the test that it cannot come back.

| fault | held by |
|---|---|
| no end token in the labels; labels cut at 256 tokens | tests/tasks/training/test_examples.py |
| `lang:en` whatever the language | tests/tasks/training/test_examples.py |
| a "frozen" tower trained through LoRA; `model.audio_tower` at the top level | tests/tasks/voxtral/test_checkpoint.py |
| first-N split without a seed, evaluation on training data | tests/tasks/dataset/test_split.py |
| results, configuration, best model and resume promised, never written | tests/tasks/training/test_process.py |
| microphone audio kept at its own rate | tests/tasks/speech/test_audio.py |
| the demo silently serves the base model | tests/tasks/space/test_space.py |
| the language "auto" crashes | tests/tasks/speech/test_transcript.py |
| the card invents fields | tests/tasks/publishing/test_card.py |
| checkpoints uploaded with optimizer state | tests/tasks/publishing/test_stage.py |

Here: a transcript longer than the recipe's limit.
"""

import pytest
import torch

from tasks.contracts import Checkpoint
from tasks.training.examples import Example, collate
from tasks.voxtral.checkpoint import load_model, load_processor
from tasks.voxtral.prompt import END_TOKEN, VoxtralPrompt
from tasks.voxtral.target_loss import learn_at_targets

pytestmark = pytest.mark.fast


def test_a_transcript_of_more_than_256_tokens_keeps_its_end(tiny: Checkpoint):
    model = load_model(tiny, torch.device("cpu"), torch.float32)
    learn_at_targets(model)
    prompt = VoxtralPrompt(load_processor(tiny), model.config)
    target = prompt.target("seven eight nine " * 60)
    assert len(target) > 256
    batch = collate([Example(prompt=prompt.prompt("en"), target=target, features=torch.zeros(1, 128, 400))])
    assert batch["labels"][0, -len(target) :].tolist() == list(target)
    assert batch["labels"][0, -1] == END_TOKEN
    assert torch.isfinite(model(**batch).loss)
