"""What fine-tuning Voxtral-Mini-3B costs on a CUDA GPU: `python -m tests.benchmarks.cuda`, two minutes. The last line is one JSON object.

The model has the shape of Voxtral-Mini-3B-2507 and random weights, so that nothing is downloaded: times and memory do not depend on their
values. Adapters, collation and trainer are the product's own. Every example is one window of 30 s with a transcript of 24 tokens. For
each batch size: median seconds of a step, windows a second, peak memory, and the share of the step that the audio tower's forward pass
takes, which is what a cache of its outputs can save.
"""

import gc
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PrinterCallback, TrainerCallback

from tasks.contracts import Method
from tasks.training.examples import Example, collate
from tasks.training.footprint import Footprint
from tasks.training.options import TrainingOptions
from tasks.training.trainer import PlannedTrainer, training_arguments
from tasks.voxtral.lora import add_adapters, recompute_activations, train_every_weight
from tasks.voxtral.prompt import END_TOKEN, SPECIAL_TOKENS
from tasks.voxtral.target_loss import learn_at_targets
from tests.builders.shapes import VOCABULARY, mini_3b_config

if TYPE_CHECKING:
    import torch
    from transformers import VoxtralForConditionalGeneration

_WARM, _STEPS = 3, 8
_LORA_BATCHES = (1, 4, 8, 16)
_FULL_BATCHES = (1, 4)
_GIBIBYTE = 1 << 30
_TRANSCRIPT_TOKENS = 24


class Windows:
    """So many examples of the shape that a window of 30 s has."""

    def __init__(self, count: int) -> None:
        import torch

        self._count, self._draw = count, random.Random(0)
        self._features = torch.randn(1, 128, 3000)
        names = SPECIAL_TOKENS
        audio = (names["<s>"], names["[INST]"], names["[BEGIN_AUDIO]"], *[names["[AUDIO]"]] * 375)
        self._prompt = (*audio, names["[/INST]"], names["[TRANSCRIBE]"])

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Example:
        spoken = [self._draw.randrange(1000, VOCABULARY) for _ in range(_TRANSCRIPT_TOKENS)]
        return Example(prompt=self._prompt, target=(*spoken, END_TOKEN), features=self._features)


class Stopwatch(TrainerCallback):
    """When each step begins and ends, the GPU's work done, and how long the audio tower's forward pass takes."""

    def __init__(self, tower: "torch.nn.Module") -> None:
        import torch

        self.steps_s: list[float] = []
        self.ends_s: list[float] = []
        self._begun_s = 0.0
        self._tower: list[list[torch.cuda.Event]] = []
        self._hooks = [
            tower.register_forward_pre_hook(lambda *_: self._tower.append([self._now()])),
            tower.register_forward_hook(lambda *_: self._tower[-1].append(self._now())),
        ]

    @staticmethod
    def _now() -> "torch.cuda.Event":
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Begin to measure."""
        import torch

        torch.cuda.synchronize()
        self._begun_s = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """End it."""
        import torch

        torch.cuda.synchronize()
        self.ends_s.append(time.perf_counter())
        self.steps_s.append(self.ends_s[-1] - self._begun_s)

    def tower_s(self) -> float:
        """Mean of a forward pass; no hook is left."""
        for hook in self._hooks:
            hook.remove()
        return statistics.mean(begun.elapsed_time(ended) / 1000 for begun, ended in self._tower[-_STEPS:])


def mini_3b(dtype: "torch.dtype") -> "VoxtralForConditionalGeneration":
    """Random weights in the shape of Voxtral-Mini-3B, on the GPU."""
    import torch
    from transformers import VoxtralForConditionalGeneration

    config = mini_3b_config()
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("cuda"):
            return VoxtralForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)


def step(model: Any, tower: "torch.nn.Module", options: TrainingOptions) -> dict[str, float]:
    """Train some steps and tell what one costs."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    watch = Stopwatch(tower)
    with tempfile.TemporaryDirectory() as folder:
        fitting = Footprint(rows=options.batch_size)
        arguments = training_arguments(Path(folder), options, _WARM + _STEPS, on_gpu=True, fitting=fitting)
        arguments.save_strategy = arguments.eval_strategy = "no"  # type: ignore[assignment]
        windows = Windows((_WARM + _STEPS) * options.batch_size)
        trainer = PlannedTrainer(model=model, args=arguments, train_dataset=windows, data_collator=collate, callbacks=[watch])
        trainer.remove_callback(PrinterCallback)
        trainer.options = options
        trainer.train()
    step_s = statistics.median(watch.steps_s[_WARM:])
    period_s = (watch.ends_s[-1] - watch.ends_s[_WARM - 1]) / _STEPS
    return {
        "step_s": round(step_s, 3),
        "windows_a_s": round(options.batch_size / period_s, 2),
        "peak_gib": round(torch.cuda.max_memory_allocated() / _GIBIBYTE, 1),
        "tower_share": round(watch.tower_s() / step_s, 3),
    }


def adapters(batches: Sequence[int]) -> dict[str, dict[str, float]]:
    """LoRA on the language model, in bfloat16."""
    import torch

    model = mini_3b(torch.bfloat16)
    tower, options = model.model.audio_tower, TrainingOptions(lora_dropout=0.05)
    adapted = add_adapters(model, options.lora_rank, options.lora_alpha, options.lora_dropout, projector=False)
    learn_at_targets(adapted)
    return {f"lora, batch {batch}": step(adapted, tower, options.model_copy(update={"batch_size": batch})) for batch in batches}


def every_weight(batches: Sequence[int]) -> dict[str, dict[str, float]]:
    """Full fine-tuning behind a frozen tower, float32 weights."""
    import torch

    model = mini_3b(torch.float32)
    train_every_weight(model, audio_tower=False)
    recompute_activations(model)
    learn_at_targets(model)
    options = TrainingOptions(method=Method.FULL, freeze_audio_tower=True)
    return {
        f"full, tower frozen, batch {batch}": step(
            model, model.model.audio_tower, options.model_copy(update={"batch_size": batch})
        )
        for batch in batches
    }


def main() -> int:
    """Measure and print; 1 without a CUDA GPU."""
    import torch

    if not torch.cuda.is_available():
        sys.stderr.write("This needs a CUDA GPU, and there is none\n")
        return 1
    measured: dict[str, Any] = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__}
    measured |= adapters(_LORA_BATCHES)
    measured |= every_weight(_FULL_BATCHES)
    sys.stdout.write(json.dumps(measured) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
