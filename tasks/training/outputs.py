"""What a finished run leaves: final-model/, best-model/, its results and configuration as JSON, its curves as a picture.

train_results.json is written last: a run without it is not finished.
"""

import json
import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.settings import settings
from infra.storage import new_folder, write_json
from tasks.contracts import Method, TrainedModel
from tasks.training.plan import steps_of
from tasks.training.selection import best_evaluation, evaluations
from tasks.training.validation import MOST_DECODED
from tasks.voxtral.checkpoint import checkpoint_hash

if TYPE_CHECKING:
    from transformers import Trainer, VoxtralProcessor

    from tasks.training.energy import Spent
    from tasks.training.options import TrainingOptions
    from tasks.training.plan import Plan
    from tasks.training.process import TrainingSpec

_PACKAGES = ("torch", "transformers", "peft", "accelerate", "mistral_common")
_CUDA_PACKAGE = "bitsandbytes"
_HOUSE = Path(__file__).parents[2]
_FIXED_ARGUMENTS = ("adam_beta1", "adam_beta2", "adam_epsilon", "bf16")
_GIBIBYTE = 1 << 30
_NOT_PUBLISHED = (
    "optimizer",
    "pytorch_model_fsdp",
    "scheduler",
    "rng_state",
    "trainer_state",
    "training_args",
    "trained",
    "complete",
    "README",
)


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
    evaluated = evaluations(history)
    figures = {name: _curve(history, name) for name in ("eval_loss", "eval_wer")}
    write_json(folder / "eval_results.json", {name: points for name, points in figures.items() if points})
    losses = {"training": _curve(history, "loss"), "validation": figures["eval_loss"]}
    draw_curves(losses, "cross-entropy a token", folder / "loss.png")
    if figures["eval_wer"]:
        percent = [(step, 100 * wer) for step, wer in figures["eval_wer"]]
        draw_curves({"validation": percent}, "word error rate, %", folder / "wer.png", scale="linear")
    chosen = best_evaluation(history, spec.options) or evaluated[-1]
    training_losses = [entry["loss"] for entry in history if "loss" in entry]
    write_json(
        folder / "train_results.json",
        {
            "steps": trainer.state.global_step,
            "ended_by": _reason(trainer.state.global_step, plan, spec.options),
            "rows": len(plan.rows),
            "skipped": len(plan.skipped),
            "train_loss": training_losses[-1] if training_losses else evaluated[-1]["eval_loss"],
            "best_step": chosen["step"],
            "best_validation_loss": chosen["eval_loss"],
            "best_validation_wer": chosen.get("eval_wer"),
            "validation_decoded": min(len(plan.validation), MOST_DECODED),
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


def _reason(steps: int, plan: "Plan", options: "TrainingOptions") -> str:
    """Which option ended the training, or that all of the plan was seen."""
    if steps < steps_of(plan, options):
        return "patience"
    return "max_steps" if steps == options.max_steps else "plan"


def _configuration(trainer: "Trainer", spec: "TrainingSpec", plan: "Plan") -> dict[str, Any]:
    trained, parameters = _parameters(trainer)
    packages = (*_PACKAGES, _CUDA_PACKAGE) if spec.options.needs_bitsandbytes else _PACKAGES
    commit = factory_commit(_HOUSE)
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
            "processes": trainer.args.world_size,
            "rows_at_a_time": trainer.args.world_size * trainer.args.per_device_train_batch_size,
            "activation_checkpointing": trainer.model.is_activation_checkpointing,
        }
        | {name: getattr(trainer.args, name) for name in _FIXED_ARGUMENTS},
        "parameters": {"all": parameters, "trained": trained},
        "epochs_planned": plan.epochs,
        "packages": {name: version(name) for name in packages},
        "python": platform.python_version(),
        "machine": _machine(),
    } | ({"git_commit": commit} if commit else {})


def _parameters(trainer: "Trainer") -> tuple[int, int]:
    """How many are trained, and how many there are; of weights in 4 bits, two lie in a byte."""
    if hasattr(trainer.model, "get_nb_trainable_parameters"):
        return trainer.model.get_nb_trainable_parameters()
    weights = list(trainer.model.parameters())
    return sum(w.numel() for w in weights if w.requires_grad), sum(w.numel() for w in weights)


def factory_commit(folder: Path) -> str | None:
    """The commit of the factory's own checkout, followed by "-dirty" where files differ from it.

    None where the factory was installed otherwise, or Git is missing or does not trust the folder.
    """
    git = shutil.which("git")
    if git is None or not (folder / ".git").exists():
        return None
    command = [git, "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    return asked.stdout.strip() if asked.returncode == 0 else None


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


def _curve(history: list[dict[str, Any]], name: str) -> list[tuple[int, float]]:
    """Steps and values of a figure."""
    return [(entry["step"], entry[name]) for entry in history if name in entry]


def draw_curves(curves: dict[str, list[tuple[int, float]]], label: str, path: Path, scale: str = "log") -> None:
    """Named curves over the steps, as PNG; one without points is left out."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.add_subplot()
    for name, points in curves.items():
        if points:
            axes.plot(*zip(*points, strict=True), label=name, marker="o" if len(points) < 30 else "", markersize=3)
    axes.set(xlabel="step", ylabel=label, yscale=scale)
    axes.grid(alpha=0.3)
    axes.legend()
    unfinished = path.with_suffix(".part.png")
    figure.savefig(unfinished, dpi=140)
    unfinished.replace(path)
