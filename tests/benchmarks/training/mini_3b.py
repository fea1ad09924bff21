"""The same ratios for Voxtral-Mini-3B, by formula: `python -m tests.benchmarks.training.mini_3b`. The last line is one JSON object.

FLOPs are those of a window over three epochs, the recipe's with the audio tower and logits at every position in each epoch, the engine's
with the tower once and logits at targets; memory is that of a batch of four. What a GPU makes of them depends on launches and bandwidth
too: `python -m tests.benchmarks.training --mini-3b` measures it on one.
"""

import json
import sys
from math import floor

from tasks.training.flops import Batch, batch_flops, tower_flops
from tasks.training.memory import GIBIBYTE, memory_of
from tasks.training.options import TrainingOptions
from tasks.training.packing import PAUSE_S
from tasks.voxtral.shape import shape_of
from tests.builders.shapes import mini_3b_config

_EPOCHS, _BATCH = 3, 4
_PROMPT_TOKENS, _TOKENS_A_SECOND, _WINDOW_S = 383, 3.3, 30
_SHORT_S, _LONG_S = 3.75, 12.5
_LOGITS_COPIES, _FLOAT32_BYTES = 3, 4  # logits, their softmax, their gradient


def ratios() -> dict[str, float]:
    """Recipe over engine, but for memory: engine over recipe."""
    together = floor((_WINDOW_S + PAUSE_S) / (_SHORT_S + PAUSE_S))
    short = recipe(_SHORT_S)
    return {
        "speedup_exact": round(short / engine(_SHORT_S), 2),
        "speedup_long": round(recipe(_LONG_S) / engine(_LONG_S), 2),
        "speedup_packed": round(short * together / engine(_SHORT_S * together), 2),
        "memory_ratio": round(memory(at_targets=True) / memory(at_targets=False), 2),
        "memory_gib": round(memory(at_targets=True) / GIBIBYTE, 1),
    }


def recipe(speech_s: float) -> float:
    """FLOPs of a window in an epoch."""
    given = _batch(speech_s, 1)
    return float(
        batch_flops(_SHAPE, TrainingOptions(cache="off"), given._replace(targets=given.length * given.rows), recompute=False).all
    )


def engine(speech_s: float) -> float:
    """FLOPs of a window in an epoch, its share of the tower's once included."""
    return batch_flops(_SHAPE, TrainingOptions(), _batch(speech_s, 1), recompute=False).all + tower_flops(_SHAPE) / _EPOCHS


def memory(at_targets: bool) -> float:
    """Bytes at the high point of a step, bfloat16 on a GPU."""
    given = _batch(_SHORT_S, _BATCH)
    needed = memory_of(_SHAPE, TrainingOptions(), given, on_gpu=True, recompute=False).peak(accumulates=False)
    every_logit = _LOGITS_COPIES * _FLOAT32_BYTES * given.rows * given.length * mini_3b_config().text_config.vocab_size
    return needed if at_targets else needed + every_logit


def _batch(speech_s: float, rows: int) -> Batch:
    targets = round(_TOKENS_A_SECOND * speech_s) + 1
    return Batch(rows, rows, _PROMPT_TOKENS + targets, rows * targets, even=True)


_SHAPE = shape_of(mini_3b_config())

if __name__ == "__main__":
    sys.stdout.write(json.dumps(ratios()) + "\n")
