"""The training process: `python -m tasks.training.process SPEC.json`.

A process of its own, so that its memory dies with it, a crash takes nothing else along, and a signal reaches it alone. It dies with
its parent (Linux), after writing a checkpoint.
"""

import errno
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import HomeError, ModelError, TrainingError, VoxFactoryError
from infra.settings import settings
from infra.storage import disk_errors, full_disk, has_room
from tasks.contracts import Checkpoint, Contract, DatasetVersion, Method, Split, Utterance
from tasks.training import channel
from tasks.training.options import TrainingOptions
from tasks.voxtral.checkpoint import default_device, default_dtype, load_model, load_processor

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import VoxtralForConditionalGeneration


_NO_ROOM = f"(os error {errno.ENOSPC})"  # safetensors asks for the whole file's room at once: where it is refused, some is left


class TrainingSpec(Contract):
    """Everything that a run needs: it is written beside the run and is the process's only argument."""

    folder: Path
    base: Checkpoint
    dataset: DatasetVersion
    replay: tuple[DatasetVersion, ...] = ()  # their training sides are mixed in against forgetting
    options: TrainingOptions
    start: Checkpoint | None = None  # the adapter to go on from; None: a fresh one


def main(spec_path: Path) -> int:
    """Train; returns the exit code."""
    spec = TrainingSpec.model_validate_json(spec_path.read_text())
    _log_to(spec.folder / "training_results" / "training.log")
    try:
        _refuse_what_cannot_work(spec)
        channel.send(_train_with_room(spec))
    except VoxFactoryError as error:
        channel.send(channel.Failed(error=type(error).__name__, problem=error.problem, fix=error.fix))
        return error.exit_code
    return 0


def _refuse_what_cannot_work(spec: TrainingSpec) -> None:
    """Before anything heavy is imported."""
    if spec.base.is_adapter:
        raise ModelError(
            f"{spec.base.name} is an adapter, which cannot be the base of another", "Name its base model, or merge it first"
        )
    if spec.start and (spec.options.method is not Method.LORA or not spec.start.is_adapter):
        raise TrainingError(
            f"{spec.start.name} is to be gone on from, which takes an adapter and method=lora",
            "Unset warm_start, or name it as the base model to train all of its weights",
        )
    if spec.options.optimizer == "adamw_8bit" and default_device().type != "cuda":
        raise TrainingError("optimizer=adamw_8bit needs a CUDA GPU, and there is none", "Use optimizer=adamw")


def _train_with_room(spec: TrainingSpec) -> channel.Message:
    """Train; whatever a library calls it, a full disk is told as one, and what it cut short is removed."""
    from safetensors import SafetensorError

    from tasks.training.trainer import remove_torn_checkpoints

    try:
        with disk_errors(spec.folder):
            return _train(spec)
    except HomeError:
        remove_torn_checkpoints(spec.folder)
        raise
    except (SafetensorError, RuntimeError) as error:
        if has_room(spec.folder) and _NO_ROOM not in str(error):
            raise
        remove_torn_checkpoints(spec.folder)
        raise full_disk(spec.folder) from error


def _train(spec: TrainingSpec) -> channel.Message:
    from transformers import PrinterCallback, set_seed

    from tasks.dataset.version import read_utterances
    from tasks.training.energy import KeepMeter, Meter, find_counters
    from tasks.training.examples import PlannedExamples, collate
    from tasks.training.outputs import write_outputs
    from tasks.training.plan import make_plan, steps_of, write_plan
    from tasks.training.tracking import Track, Tracker
    from tasks.training.trainer import PlannedTrainer, Report, StopOnSignal, last_checkpoint, step_of, training_arguments
    from tasks.training.window_features import MelFeatures, TowerOutputs, WindowFeatures, has_frozen_tower
    from tasks.voxtral.prompt import VoxtralPrompt

    meter = Meter(spec.folder / "spent.json", find_counters())
    tracker = Tracker(spec) if settings().tracking else None  # it starts while the model is loaded
    stop = StopOnSignal()
    options = spec.options
    set_seed(options.seed)
    model = _model(spec.base, options, spec.start)
    processor = load_processor(spec.base)
    prompt = VoxtralPrompt(processor, model.config)

    target = read_utterances(spec.dataset, Split.TRAIN)
    replay = [(version, read_utterances(version, Split.TRAIN)) for version in spec.replay]
    held_out = read_utterances(spec.dataset, Split.EVAL)
    plan = make_plan(target, options, prompt.window_s, [utterance for _, known in replay for utterance in known], held_out)
    write_plan(plan, spec.folder)
    utterances: dict[str, Utterance] = {}
    clips: dict[str, Path] = {}
    for version, spoken in ((spec.dataset, target), *replay):
        utterances |= {utterance.id: utterance for utterance in spoken}
        clips |= {utterance.id: version.folder / utterance.audio_path for utterance in spoken}

    steps = steps_of(plan, options)
    # Only what those steps take: transformers compares with max_steps after a step, so that a run whose last checkpoint is there, but
    # not its outputs, would make one step more.
    rows_a_step = options.batch_size * options.gradient_accumulation
    rows = plan.rows[: steps * rows_a_step]
    durations_s = [utterances[row.utterance].duration_s for row in rows]
    mel = MelFeatures(processor, prompt)
    tower = TowerOutputs(model, mel, spec.base.label) if has_frozen_tower(model) else None
    features = WindowFeatures(tower or mel, utterances, clips, settings())

    def told(done: int, total: int) -> None:
        meter.sample()
        channel.send(channel.Features(done=done, total=total))

    features.prepare([row.utterance for row in (*rows, *plan.validation)], stop.stopped, told)
    resumed = last_checkpoint(spec.folder)
    if stop.stopped():
        meter.write()
        return channel.Stopped(step=step_of(resumed) if resumed else 0)
    trainer = PlannedTrainer(
        model=model,
        args=training_arguments(spec.folder, options, steps, default_device().type == "cuda"),
        train_dataset=PlannedExamples(rows, utterances, features, prompt),
        eval_dataset=PlannedExamples(plan.validation, utterances, features, prompt),
        data_collator=collate,
        callbacks=[stop, Report(), KeepMeter(meter), *([Track(tracker, durations_s, rows_a_step)] if tracker else [])],
    )
    trainer.remove_callback(PrinterCallback)  # training.log and trainer_state.json hold it; the parent may be gone
    trainer.tower = tower
    result = trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    if stop.stopped() and trainer.state.global_step < trainer.state.max_steps:
        return channel.Stopped(step=trainer.state.global_step)
    if not result.training_loss < float("inf"):  # NaN compares false
        raise TrainingError(f"The loss became {result.training_loss}", "Lower learning_rate and train again")
    with trainer.whole():
        write_outputs(trainer, processor, spec, plan, meter.spent())
    return channel.Finished()


def _model(
    base: Checkpoint, options: TrainingOptions, start: Checkpoint | None = None
) -> "VoxtralForConditionalGeneration | PeftModel":
    import torch

    from tasks.voxtral.lora import add_adapters, go_on_from, recompute_activations, train_every_weight

    device = default_device()
    # Full fine-tuning updates the weights themselves: bfloat16 would round small updates away.
    dtype = default_dtype(device) if options.method is Method.LORA else torch.float32
    model = load_model(base, device, dtype)
    if start:
        return go_on_from(model, start, options.lora_rank)
    if options.method is Method.LORA:
        return add_adapters(model, options.lora_rank, options.lora_alpha, options.lora_dropout, options.train_projector)
    train_every_weight(model, audio_tower=not options.freeze_audio_tower)
    if device.type == "cuda":
        recompute_activations(model)
    return model


def _log_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=path, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    logging.captureWarnings(True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
