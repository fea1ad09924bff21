"""The engine against the public recipe: `python -m tests.benchmarks.training`, twenty minutes. The last line is one JSON object.

Throughput (audio seconds a second, features included, over three epochs) and peak memory on a Voxtral of real proportions; accuracy on
spoken numbers with voxfactory-tiny. Both sides run on the same data in the same run, one after the other, each in a process of its own:

- speedup_exact: clips of at most 5 s, no packing, the same rows, updates and losses; memory_ratio comes from it, too, and step_overhead:
  the share of a step that is spent outside of the forward and backward pass, the optimizer's own time included.
- speedup_long: the same for clips of 10 to 15 s.
- speedup_packed: the short clips, in shared windows in every epoch.
- time_to_wer: the recipe's time to its best held-out WER over the engine's to the same; wer_p_worse: the bootstrap probability that
  after equal epochs the engine's model is the worse one.

Ends with 1 if a limit is broken. `--mini-3b`, on a CUDA machine, measures throughput and memory alone, with the shape of
Voxtral-Mini-3B and random weights, and knows no limits.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tasks.contracts import Checkpoint, DatasetVersion, Split
from tasks.dataset.version import read_utterances
from tasks.training.options import TrainingOptions
from tasks.training.plan import PlanRow
from tasks.training.process import TrainingSpec
from tests.benchmarks.training.accuracy import compare
from tests.benchmarks.training.measured import Measured
from tests.benchmarks.training.proportions import joined_speech, proportioned_config, random_model
from tests.benchmarks.training.recipe import Job
from tests.benchmarks.training.running import run_engine, run_recipe, single_plan
from tests.builders.shapes import mini_3b_config

if TYPE_CHECKING:
    from transformers import VoxtralConfig

_AT_LEAST = {"speedup_exact": 4.0, "speedup_long": 2.5, "speedup_packed": 8.0, "time_to_wer": 2.5}
_AT_MOST = {"memory_ratio": 0.6, "wer_p_worse": 0.95, "step_overhead": 0.1}
_CLIPS, _CLIPS_ON_GPU, _EPOCHS = 36, 180, 3  # a GPU's first steps take seconds
_SAME_LOSS = 1e-3
# The same updates as the recipe's: without what only the engine knows.
OPTIONS = TrainingOptions(
    epochs=_EPOCHS,
    batch_size=4,
    best_by="loss",
    checkpoint_steps=10_000,
    lora_plus_ratio=1.0,
    lora_average=0.0,
    train_projector=False,
)
# 34 windows are few steps when packed: as many as the batch holds would warm up and end.
PACKED = OPTIONS.model_copy(update={"packing": "same-language", "packed_share": 1.0, "batch_size": 1})


def throughput(folder: Path, config: "VoxtralConfig", clips: int) -> dict[str, Any]:
    """Both sides on clips of two lengths."""
    base = random_model(folder / "model", config)
    short = joined_speech(folder / "short", clips, 2.5, 5)
    long = joined_speech(folder / "long", clips, 10, 15)
    recipe, engine = both(folder / "exact", base, short, OPTIONS)
    recipe_long, engine_long = both(folder / "longer", base, long, OPTIONS)
    packed_spec = TrainingSpec(folder=folder / "packed", base=base, dataset=short, options=PACKED)
    packed = run_engine(packed_spec)
    differ = max(abs(ours - theirs) for ours, theirs in zip(engine.losses, recipe.losses, strict=True))
    if differ > _SAME_LOSS and not torch.cuda.is_available():  # where bfloat16 rounds, features of one window and of four differ
        raise SystemExit(f"The losses differ by {differ}: the two do not do the same")
    speed = audio_s(short, folder / "exact" / "recipe-plan.jsonl") / recipe.seconds
    return {
        "audio_s_a_s": {"recipe": round(speed, 2), "engine": round(speed * recipe.seconds / engine.seconds, 2)},
        "largest_difference_of_losses": differ,
        "peak_gib": {"recipe": round(recipe.peak_bytes / 2**30, 2), "engine": round(engine.peak_bytes / 2**30, 2)},
        "speedup_exact": round(recipe.seconds / engine.seconds, 2),
        "speedup_long": round(recipe_long.seconds / engine_long.seconds, 2),
        "speedup_packed": round(audio_s(short, packed_spec.folder / "plan.jsonl") / packed.seconds / speed, 2),
        "memory_ratio": round(engine.peak_bytes / recipe.peak_bytes, 3),
        "step_overhead": round(engine.overhead, 3),
    }


def both(folder: Path, base: Checkpoint, dataset: DatasetVersion, options: TrainingOptions) -> tuple[Measured, Measured]:
    """The recipe, then the engine, on the same plan."""
    folder.mkdir(parents=True)
    spec = TrainingSpec(folder=folder / "engine", base=base, dataset=dataset, options=options)
    plan = single_plan(spec, options, folder)
    recipe = run_recipe(Job(folder=folder / "recipe", base=base, datasets=(dataset,), plan=plan, options=options))
    return recipe, run_engine(spec)


def audio_s(dataset: DatasetVersion, plan: Path) -> float:
    """Seconds of speech in a plan."""
    durations_s = {utterance.id: utterance.duration_s for utterance in read_utterances(dataset, Split.TRAIN)}
    rows = [PlanRow.model_validate_json(line) for line in plan.read_text().splitlines()]
    return sum(durations_s[name] for row in rows for name in row.utterances)


def broken(measured: dict[str, float]) -> list[str]:
    """Each limit that does not hold, in words."""
    below = [f"{name} is {measured[name]}, less than {least}" for name, least in _AT_LEAST.items() if measured[name] < least]
    above = [f"{name} is {measured[name]}, more than {most}" for name, most in _AT_MOST.items() if measured[name] > most]
    return below + above


def main() -> int:
    """Measure and print; 1 if a limit is broken."""
    large = sys.argv[1:] == ["--mini-3b"]
    if large and not torch.cuda.is_available():
        sys.stderr.write("--mini-3b needs a CUDA GPU, and there is none\n")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        shape, clips = (mini_3b_config(), _CLIPS_ON_GPU) if large else (proportioned_config(), _CLIPS)
        measured = throughput(Path(folder) / "throughput", shape, clips)
        if not large:
            measured |= compare(Path(folder) / "accuracy")
    failures = [] if large else broken(measured)
    sys.stdout.write("".join(f"{failure}\n" for failure in failures) + json.dumps(measured) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
