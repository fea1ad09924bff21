"""The training process: `python -m tasks.training.process SPEC.json`.

A process of its own, so that its memory dies with it, a crash takes nothing else along, and a signal reaches it alone. It dies with
its parent (Linux), after writing a checkpoint.
"""

import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import ModelError, TrainingError, VoxFactoryError
from infra.storage import disk_errors, full_disk, has_room
from tasks.contracts import Checkpoint, Contract, DatasetVersion, Method, Split, Utterance
from tasks.training import channel
from tasks.training.options import TrainingOptions
from tasks.voxtral.checkpoint import default_device, default_dtype, load_model, load_processor

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import VoxtralForConditionalGeneration


class TrainingSpec(Contract):
    """Everything that a run needs: it is written beside the run and is the process's only argument."""

    folder: Path
    base: Checkpoint
    dataset: DatasetVersion
    replay: tuple[DatasetVersion, ...] = ()  # their training sides are mixed in against forgetting
    options: TrainingOptions


def main(spec_path: Path) -> int:
    """Train; returns the exit code."""
    spec = TrainingSpec.model_validate_json(spec_path.read_text())
    _log_to(spec.folder / "training_results" / "training.log")
    try:
        channel.send(_train_with_room(spec))
    except VoxFactoryError as error:
        channel.send(channel.Failed(error=type(error).__name__, problem=error.problem, fix=error.fix))
        return error.exit_code
    return 0


def _train_with_room(spec: TrainingSpec) -> channel.Message:
    """Train; whatever a library calls it, a full disk is told as one."""
    from safetensors import SafetensorError

    try:
        with disk_errors(spec.folder):
            return _train(spec)
    except (SafetensorError, RuntimeError) as error:
        if has_room(spec.folder):
            raise
        raise full_disk(spec.folder) from error


def _train(spec: TrainingSpec) -> channel.Message:
    from transformers import PrinterCallback, set_seed

    from tasks.dataset.version import read_utterances
    from tasks.training.examples import PlannedExamples, collate
    from tasks.training.outputs import write_outputs
    from tasks.training.plan import make_plan, steps_of, write_plan
    from tasks.training.trainer import PlannedTrainer, Report, StopOnSignal, last_checkpoint, training_arguments
    from tasks.voxtral.prompt import VoxtralPrompt

    started = time.monotonic()
    stop = StopOnSignal()
    options = spec.options
    set_seed(options.seed)
    base = spec.base
    if base.is_adapter:
        raise ModelError(
            f"{base.name} is an adapter, which cannot be the base of another", "Name its base model, or merge it first"
        )
    on_gpu = default_device().type == "cuda"
    if options.optimizer == "adamw_8bit" and not on_gpu:
        raise TrainingError("optimizer=adamw_8bit needs a CUDA GPU, and there is none", "Use optimizer=adamw")
    model = _model(base, options)
    processor = load_processor(base)
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

    arguments = training_arguments(spec.folder, options, steps_of(plan, options), on_gpu)
    trainer = PlannedTrainer(
        model=model,
        args=arguments,
        train_dataset=PlannedExamples(plan.rows, utterances, clips, processor, prompt),
        eval_dataset=PlannedExamples(plan.validation, utterances, clips, processor, prompt),
        data_collator=collate,
        callbacks=[stop, Report()],
    )
    trainer.remove_callback(PrinterCallback)  # training.log and trainer_state.json hold it; the parent may be gone
    resumed = last_checkpoint(spec.folder)
    result = trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    if stop.stopped and trainer.state.global_step < trainer.state.max_steps:
        return channel.Stopped(step=trainer.state.global_step)
    if not result.training_loss < float("inf"):  # NaN compares false
        raise TrainingError(f"The loss became {result.training_loss}", "Lower learning_rate and train again")
    write_outputs(trainer, processor, spec, plan, time.monotonic() - started)
    return channel.Finished()


def _model(base: Checkpoint, options: TrainingOptions) -> "VoxtralForConditionalGeneration | PeftModel":
    import torch

    from tasks.voxtral.lora import add_adapters, train_every_weight

    device = default_device()
    # Full fine-tuning updates the weights themselves: bfloat16 would round small updates away.
    dtype = default_dtype(device) if options.method is Method.LORA else torch.float32
    model = load_model(base, device, dtype)
    if options.method is Method.LORA:
        return add_adapters(model, options.lora_rank, options.lora_alpha, options.lora_dropout, options.train_projector)
    train_every_weight(model, audio_tower=not options.freeze_audio_tower)
    return model


def _log_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=path, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    logging.captureWarnings(True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
