"""What a finished run leaves: final-model/, best-model/, its results and configuration as JSON, its curves as a picture.

train_results.json is written last: a run without it is not finished.
"""

import json
import os
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.settings import settings
from infra.storage import new_folder, write_json
from tasks.contracts import Method, TrainedModel
from tasks.voxtral.checkpoint import checkpoint_hash

if TYPE_CHECKING:
    from transformers import Trainer, VoxtralProcessor

    from tasks.training.energy import Spent
    from tasks.training.plan import Plan
    from tasks.training.process import TrainingSpec

_PACKAGES = ("torch", "transformers", "peft", "accelerate", "mistral_common")
_FIXED_ARGUMENTS = ("adam_beta1", "adam_beta2", "adam_epsilon", "bf16")
_GIBIBYTE = 1 << 30
_NOT_PUBLISHED = ("optimizer", "scheduler", "rng_state", "trainer_state", "training_args", "complete", "README")


def write_outputs(trainer: "Trainer", processor: "VoxtralProcessor", spec: "TrainingSpec", plan: "Plan", spent: "Spent") -> None:
    """Write everything that TrainedModel promises."""
    folder, history = spec.folder, trainer.state.log_history
    with new_folder(folder / "final-model") as unfinished:
        trainer.save_model(str(unfinished))
        _complete_model(unfinished, processor, spec)
    best = trainer.state.best_model_checkpoint
    with new_folder(folder / "best-model") as unfinished:
        for path in Path(best or folder / "final-model").iterdir():
            if path.is_file() and not path.name.startswith(_NOT_PUBLISHED):
                shutil.copy2(path, unfinished)
        _complete_model(unfinished, processor, spec)
    trainer.state.save_to_json(str(folder / "trainer_state.json"))
    write_json(folder / "training_config.json", _configuration(trainer, spec, plan))
    losses = [entry for entry in history if "eval_loss" in entry]
    write_json(folder / "validation_results.json", {"eval_loss": [[e["step"], e["eval_loss"]] for e in losses]})
    draw_curves(history, folder / "loss.png")
    training_losses = [entry["loss"] for entry in history if "loss" in entry]
    write_json(
        folder / "train_results.json",
        {
            "steps": trainer.state.global_step,
            "rows": len(plan.rows),
            "skipped": len(plan.skipped),
            "train_loss": training_losses[-1] if training_losses else losses[-1]["eval_loss"],
            "best_validation_loss": trainer.state.best_metric,
            "seconds": round(spent.seconds, 1),
            "energy_j": {name: round(joules, 1) for name, joules in spent.energy_j.items()},
            "grid_g_co2_per_kwh": settings().grid_g_co2_per_kwh,
        },
    )


def read_outputs(spec: "TrainingSpec") -> TrainedModel:
    """The finished run in `spec.folder`."""
    results = json.loads((spec.folder / "train_results.json").read_text())
    return TrainedModel(
        folder=spec.folder,
        base=spec.base,
        method=spec.options.method,
        dataset_fingerprint=spec.dataset.fingerprint,
        weights_hash=checkpoint_hash(spec.folder / "best-model"),
        steps=results["steps"],
        train_loss=results["train_loss"],
        train_seconds=results["seconds"],
    )


def _complete_model(folder: Path, processor: "VoxtralProcessor", spec: "TrainingSpec") -> None:
    """Add what loading needs beside the weights: tokenizer, feature extractor, configuration."""
    processor.save_pretrained(str(folder))
    for name in ("training_args.bin", "README.md"):
        (folder / name).unlink(missing_ok=True)
    if spec.options.method is Method.FULL:
        if not (folder / "generation_config.json").exists() and (spec.base.folder / "generation_config.json").exists():
            shutil.copy2(spec.base.folder / "generation_config.json", folder)
        return
    shutil.copy2(spec.base.folder / "config.json", folder)  # an adapter alone cannot say what window its processor needs
    adapter, on_the_hub = folder / "adapter_config.json", "/" in spec.base.label
    named = json.loads(adapter.read_text()) | {
        "base_model_name_or_path": spec.base.label,
        "revision": spec.base.revision if on_the_hub else None,
    }
    write_json(adapter, named)


def _configuration(trainer: "Trainer", spec: "TrainingSpec", plan: "Plan") -> dict[str, Any]:
    weights = list(trainer.model.parameters())
    return {
        "base_model": spec.base.label,
        "base_revision": spec.base.revision,
        "dataset": spec.dataset.name,
        "dataset_fingerprint": spec.dataset.fingerprint,
        "dataset_utterances": spec.dataset.train_utterances + spec.dataset.eval_utterances,
        "replay_fingerprints": [replayed.fingerprint for replayed in spec.replay],
        "went_on_from": [spec.start.label, spec.start.revision] if spec.start else None,
        "options": spec.options.model_dump(mode="json"),
        "fixed": {
            "lr_scheduler_type": str(trainer.args.lr_scheduler_type.value),
            "weights_dtype": str(trainer.model.dtype).removeprefix("torch."),
            "activation_checkpointing": trainer.model.is_activation_checkpointing,
        }
        | {name: getattr(trainer.args, name) for name in _FIXED_ARGUMENTS},
        "parameters": {"all": sum(w.numel() for w in weights), "trained": sum(w.numel() for w in weights if w.requires_grad)},
        "epochs_planned": plan.epochs,
        "packages": {name: version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "machine": _machine(),
    }


def _machine() -> dict[str, str | int | float]:
    """What the run had to itself or shared with others; nothing that tells whose machine it is."""
    import torch

    machine: dict[str, str | int | float] = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIBIBYTE, 1),
    }
    if torch.cuda.is_available():
        machine |= {
            "gpu": torch.cuda.get_device_name(),
            "gpus": torch.cuda.device_count(),
            "gpu_memory_gib": round(torch.cuda.get_device_properties().total_memory / _GIBIBYTE, 1),
            "cuda": str(torch.version.cuda),
        }
    return machine


def _processor() -> str:
    """The processor's name as Linux tells it, else its architecture."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def draw_curves(history: list[dict[str, Any]], path: Path) -> None:
    """Training and validation loss over the steps, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.add_subplot()
    for key, label in (("loss", "training"), ("eval_loss", "validation")):
        points = [(entry["step"], entry[key]) for entry in history if key in entry]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, marker="o" if len(points) < 30 else "", markersize=3)
    axes.set(xlabel="step", ylabel="cross-entropy a token", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    unfinished = path.with_suffix(".part.png")
    figure.savefig(unfinished, dpi=140)
    unfinished.replace(path)
