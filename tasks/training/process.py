"""The training process: `python -m tasks.training.process SPEC.json`.

A process of its own, so that its memory dies with it, a crash takes nothing else along, and a signal reaches it alone. It dies with
its parent (Linux), after writing a checkpoint. It may be one of several (`accelerated`): then all compute, and the first one writes.
"""

import errno
import logging
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import HomeError, ModelError, TrainingError, VoxFactoryError
from infra.settings import settings
from infra.storage import disk_errors, full_disk, has_room
from tasks.contracts import Checkpoint, Contract, DatasetVersion, Method
from tasks.training import channel, ranks
from tasks.training.footprint import Footprint, accumulation, footprint, is_out_of_memory
from tasks.training.options import TrainingOptions
from tasks.voxtral.checkpoint import default_device, default_dtype, load_model, load_processor

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import VoxtralForConditionalGeneration
    from transformers.trainer_utils import TrainOutput

    from tasks.training.material import Material
    from tasks.training.trainer import PlannedTrainer
    from tasks.voxtral.prompt import VoxtralPrompt


_log = logging.getLogger("tasks.training.process")  # which is "__main__" where it runs
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
    ranks.end_with_launcher()
    spec = TrainingSpec.model_validate_json(spec_path.read_text())
    _log_to(spec.folder / "training_results" / "training.log")
    try:
        refuse_what_cannot_work(spec)
        ended = _train_with_room(spec)
        channel.send(ended)
        if isinstance(ended, channel.OutOfMemory):
            return TrainingError.exit_code  # torchrun ends the others, which wait for this one
        ranks.leave()
    except VoxFactoryError as error:
        channel.send(channel.Failed(error=type(error).__name__, problem=error.problem, fix=error.fix))
        return error.exit_code
    return 0


def refuse_what_cannot_work(spec: TrainingSpec) -> None:
    """Before anything heavy is imported.

    Raises:
        ModelError, TrainingError: what it is that cannot, and what can.

    """
    if spec.base.is_adapter:
        raise ModelError(
            f"{spec.base.name} is an adapter, which cannot be the base of another", "Name its base model, or merge it first"
        )
    if spec.start and (spec.options.method is not Method.LORA or not spec.start.is_adapter):
        raise TrainingError(
            f"{spec.start.name} is to be gone on from, which takes an adapter and method=lora",
            "Unset warm_start, or name it as the base model to train all of its weights",
        )
    if ranks.are_sharded() and spec.options.best_by == "wer":
        raise TrainingError(
            "VOXFACTORY_ACCELERATE=fsdp divides the weights, and best_by=wer transcribes with all of them", "Set best_by=loss"
        )
    if ranks.are_sharded() and spec.options.quantise_base:
        raise TrainingError(
            "VOXFACTORY_ACCELERATE=fsdp divides the weights, and quantise_base=True keeps them in 4 bits, which it cannot divide",
            "Set VOXFACTORY_ACCELERATE=ddp, or unset quantise_base",
        )
    if ranks.are_sharded() and spec.options.averages:
        raise TrainingError(
            f"VOXFACTORY_ACCELERATE=fsdp divides the weights, and lora_average={spec.options.lora_average:g} keeps a whole copy",
            "Set lora_average=0",
        )
    if spec.options.needs_bitsandbytes:
        _refuse_without_bitsandbytes(spec.options)


def _refuse_without_bitsandbytes(options: TrainingOptions) -> None:
    setting, instead = (
        ("quantise_base=True", "Unset it") if options.quantise_base else ("optimizer=adamw_8bit", "Use optimizer=adamw")
    )
    if default_device().type != "cuda":
        raise TrainingError(f"{setting} needs a CUDA GPU, and there is none", instead)
    if find_spec("bitsandbytes") is None:
        raise TrainingError(
            f"{setting} needs bitsandbytes, which is not installed", f"{instead}, or run: pip install 'voxfactory[gpu]'"
        )


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
    except (SafetensorError, RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise TrainingError(
                f"Out of memory before or after the training itself: {str(error).splitlines()[0]}",
                "The model as it is needs more: free some, or train a smaller one",
            ) from error
        if has_room(spec.folder) and _NO_ROOM not in str(error):
            raise
        remove_torn_checkpoints(spec.folder)
        raise full_disk(spec.folder) from error


def _train(spec: TrainingSpec) -> channel.Message:
    from transformers import PrinterCallback, set_seed

    from tasks.training.augmentation import is_changed
    from tasks.training.average import Average
    from tasks.training.energy import KeepMeter, Meter, find_counters
    from tasks.training.examples import PlannedExamples, collate
    from tasks.training.filled import FilledUp, collate_filled
    from tasks.training.flops import caches_tower
    from tasks.training.material import material
    from tasks.training.outputs import write_outputs
    from tasks.training.plan import steps_of, write_plan
    from tasks.training.selection import evaluations
    from tasks.training.tracking import Track, Tracker
    from tasks.training.trainer import (
        PlannedTrainer,
        Report,
        StopOnSignal,
        last_checkpoint,
        last_step,
        remove_torn_checkpoints,
        step_of,
        training_arguments,
    )
    from tasks.training.validation import Validation
    from tasks.training.window_audio import WindowAudio
    from tasks.training.window_features import ChangedFeatures, MelFeatures, TowerOutputs, WindowFeatures
    from tasks.voxtral.prompt import VoxtralPrompt
    from tasks.voxtral.shape import read_config

    first = ranks.is_first()
    stop = StopOnSignal()
    ranks.join()
    meter = Meter(spec.folder / "spent.json", find_counters())
    tracker = Tracker(spec) if settings().tracking and first else None  # it starts while the model is loaded
    options = spec.options
    fitting = _fitting(spec)
    set_seed(options.seed)
    config, processor = read_config(spec.base.folder), load_processor(spec.base)
    prompt = VoxtralPrompt(processor, config)

    known = material(spec.dataset, spec.replay, options, prompt)
    plan, utterances, clips = known
    if first:
        write_plan(plan, spec.folder)

    model = _model(spec.base, options, _recomputes(spec, known, prompt, fitting), spec.start)
    resumed = last_checkpoint(spec.folder)
    if first:
        remove_torn_checkpoints(spec.folder)
    steps = last_step(steps_of(plan, options), resumed, options)
    # Only what those steps take: transformers compares with max_steps after a step, so that a run whose last checkpoint is there, but
    # not its outputs, would make one step more.
    rows_a_step = options.batch_size * options.gradient_accumulation
    rows = plan.rows[: steps * rows_a_step]
    durations_s = [sum(utterances[name].duration_s for name in row.utterances) for row in rows]
    audio = WindowAudio(utterances, clips)
    mel = MelFeatures(processor, prompt)
    # The wrapping of FSDP looks for the tower's layers.
    apart = caches_tower(options) and not ranks.are_sharded()
    tower = TowerOutputs(model, mel, spec.base.label) if apart else None
    features = WindowFeatures(tower or mel, audio, options.cache != "off", settings())
    heard = ChangedFeatures(features, mel, audio, options) if is_changed(options) else features

    def told(done: int, total: int) -> None:
        meter.sample()
        channel.send(channel.Features(done=done, total=total))

    features.prepare((*rows, *plan.validation), stop.stopped, told)
    if ranks.any_of(stop.stopped()):
        meter.write()
        return channel.Stopped(step=step_of(resumed) if resumed else 0)
    average = Average(model, options.lora_average) if options.averages else None
    trainer = PlannedTrainer(
        model=model,
        args=training_arguments(spec.folder, options, steps, default_device().type == "cuda", fitting),
        train_dataset=FilledUp(PlannedExamples(rows, utterances, heard, prompt), fitting.rows),
        eval_dataset=FilledUp(PlannedExamples(plan.validation, utterances, features, prompt), fitting.rows),
        data_collator=collate_filled(collate),
        callbacks=[
            stop,
            *([average] if average else []),
            Report(),
            KeepMeter(meter),
            *([Track(durations_s, rows_a_step, tracker)] if first else []),
        ],
    )
    trainer.remove_callback(PrinterCallback)  # training.log and trainer_state.json hold it; the parent may be gone
    trainer.options, trainer.tower, trainer.average = options, tower, average
    if options.best_by == "wer":
        trainer.validation = Validation(plan.validation, utterances, features, prompt, fitting.rows)
    result = _fit(trainer, resumed, fitting)
    if isinstance(result, channel.OutOfMemory):
        return result
    if ranks.any_of(stop.stopped()) and trainer.state.global_step < trainer.state.max_steps:
        return channel.Stopped(step=trainer.state.global_step)
    loss = evaluations(trainer.state.log_history)[-1]["eval_loss"]  # the history's: this attempt may have had no step left
    if ranks.any_of(not loss < float("inf")):  # NaN compares false
        raise TrainingError(f"The loss became {loss}", "Lower learning_rate and train again")
    with trainer.whole():
        if first:
            write_outputs(trainer, processor, spec, plan, meter.spent())
        else:
            trainer.save_model(str(spec.folder / "final-model"))  # writes nothing: it hands over its share of the weights
    return channel.Finished()


def _fitting(spec: TrainingSpec) -> Footprint:
    fitting = footprint(spec.folder, spec.options, ranks.count())
    if fitting.recompute or fitting.rows * ranks.count() < spec.options.batch_size:
        _log.warning("Memory did not suffice for more: %s", fitting)
    return fitting


def _recomputes(spec: TrainingSpec, known: "Material", prompt: "VoxtralPrompt", fitting: Footprint) -> bool:
    """Whether activations are computed twice: because they would not fit otherwise, or did not."""
    from tasks.training.memory import decides_to_recompute, device_bytes
    from tasks.training.workload import workload
    from tasks.voxtral.shape import read_config, shape_of

    if ranks.are_sharded():  # the formula knows one device
        return spec.options.activation_checkpointing != "off"
    device = default_device()
    accumulated = accumulation(spec.options, ranks.count(), fitting.rows)
    at_once = spec.options.model_copy(update={"batch_size": fitting.rows, "gradient_accumulation": accumulated})
    largest = workload(known.plan, known.utterances, spec.options, prompt).largest_of(fitting.rows)
    shape = shape_of(read_config(spec.base.folder))
    return fitting.recompute or decides_to_recompute(shape, at_once, largest, device.type == "cuda", device_bytes(device))


def _fit(trainer: "PlannedTrainer", resumed: Path | None, fitting: Footprint) -> "TrainOutput | channel.OutOfMemory":
    try:
        return trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        tried = fitting.model_copy(update={"recompute": trainer.model.is_activation_checkpointing})
        _log.warning("Out of memory with %s: %s", tried, str(error).splitlines()[0])
        return channel.OutOfMemory(tried=tried, processes=ranks.count())


def _model(
    base: Checkpoint, options: TrainingOptions, recompute: bool, start: Checkpoint | None = None
) -> "VoxtralForConditionalGeneration | PeftModel":
    import torch

    from tasks.voxtral.lora import add_adapters, go_on_from, recompute_activations, train_every_weight
    from tasks.voxtral.target_loss import learn_at_targets

    device = torch.device("cpu") if ranks.are_sharded() else default_device()  # the whole of it may not fit into one GPU
    # Full fine-tuning updates the weights themselves: bfloat16 would round small updates away.
    dtype = default_dtype(default_device()) if options.method is Method.LORA else torch.float32
    model = load_model(base, device, dtype, options.quantise_base)
    kind = {"rank_stabilised": options.lora_rank_stabilised, "dora": options.lora_dora}
    if start:
        model = go_on_from(model, start, options.lora_rank, options.train_projector, **kind)
    elif options.method is Method.LORA:
        model = add_adapters(model, options.lora_rank, options.lora_alpha, options.lora_dropout, options.train_projector, **kind)
    else:
        train_every_weight(model, audio_tower=not options.freeze_audio_tower)
    if recompute:
        recompute_activations(model)
    learn_at_targets(model)
    return model


def _log_to(path: Path) -> None:
    logging.captureWarnings(True)
    if not ranks.is_first():
        logging.basicConfig(handlers=[logging.NullHandler()], force=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=path, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
