"""transformers' Trainer, fed from the plan, stopped gracefully, and resumed exactly.

A checkpoint counts only once its mark is written, so one torn by kill -9 is never resumed from. SIGTERM or SIGINT ends the step at
hand, writes a checkpoint and stops; the next attempt goes on at the next row of the plan.
"""

import json
import logging
import shutil
import signal
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tasks.contracts import Method
from tasks.training import channel, ranks
from tasks.training.footprint import Footprint, accumulation
from tasks.training.options import TrainingOptions
from tasks.training.ranked_trainer import RankedTrainer
from tasks.training.selection import best_evaluation, out_of_patience

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from tasks.training.average import Average
    from tasks.training.validation import Validation
    from tasks.training.window_features import TowerOutputs

_OPTIMIZERS = {"adamw": "adamw_torch_fused", "adamw_8bit": "adamw_8bit"}
_COMPLETE = "complete"  # the mark: written last, after everything else of a checkpoint
_log = logging.getLogger(__name__)


class StopOnSignal(TrainerCallback):
    """Turns SIGTERM and SIGINT into: finish the step, write a checkpoint, stop."""

    def __init__(self) -> None:
        self._came = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def _stop(self, _number: int, _frame: object) -> None:
        self._came = True

    def stopped(self) -> bool:
        """Whether a signal came."""
        return self._came

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """End after this step, with a checkpoint, if a signal came: in one of several processes, for all of them."""
        self._came = ranks.any_of(self._came)
        if self.stopped():
            control.should_save = True
            control.should_training_stop = True


class Report(TrainerCallback):
    """Tells the parent process how far training is, marks and prunes checkpoints, evaluates the last step too."""

    def __init__(self) -> None:
        self._loss = self._wer = ""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Report the step; make the last one a checkpoint with a validation loss."""
        note = ", ".join(filter(None, (self._loss, self._wer)))
        channel.send(channel.Step(step=state.global_step, steps=state.max_steps, note=note))
        if state.global_step >= state.max_steps:
            control.should_evaluate = True
            control.should_save = True

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any) -> None:
        """Remember the last training loss and the last WER."""
        if logs and "loss" in logs:
            self._loss = f"loss {float(logs['loss']):.3f}"
        if logs and "eval_wer" in logs:
            self._wer = f"WER {float(logs['eval_wer']):.1%}"

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Mark the checkpoint as complete, once all processes have written their part; only then others than the best go."""
        ranks.wait_for_all()
        if state.is_world_process_zero:
            written = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            (written / _COMPLETE).touch()
            _keep_only({written, Path(state.best_model_checkpoint or written)})


class PlannedTrainer(RankedTrainer):
    """A Trainer that takes the rows in the order of the plan, for a model whose audio tower may be taken out.

    `average` is what is evaluated and saved, where there is one. `validation` gives the WER of every evaluation; without it, the loss
    picks the best model. How often it evaluates changes no weight.
    """

    options: TrainingOptions
    optimizer: "Optimizer | None"
    tower: "TowerOutputs | None" = None
    average: "Average | None" = None
    validation: "Validation | None" = None

    def whole(self) -> AbstractContextManager[None]:
        """The model has its tower while the block runs."""
        return self.tower.in_place() if self.tower else nullcontext()

    def averaged(self) -> AbstractContextManager[None]:
        """The model has the weights that are kept while the block runs."""
        return self.average.in_place() if self.average else nullcontext()

    def create_optimizer(self, model: Any = None) -> "Optimizer":
        """As transformers does; the second matrix of an adapter, which begins at zero, has a rate of its own (LoRA+)."""
        if self.optimizer is None and self.options.method is Method.LORA:
            from peft.optimizers import create_loraplus_optimizer

            kind, settings = self.get_optimizer_cls_and_kwargs(self.args, model or self.model)
            self.optimizer = create_loraplus_optimizer(
                model or self.model,
                kind,
                loraplus_lr_ratio=self.options.lora_plus_ratio,
                loraplus_weight_decay=self.args.weight_decay,
                **settings,
            )
        return super().create_optimizer(model)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        with self.whole(), self.averaged():
            super()._save(output_dir, state_dict)

    def evaluate(self, *arguments: Any, **named: Any) -> dict[str, float]:
        """Evaluate; the random state stays as it was, from which reading the data draws."""
        import torch

        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices=devices), self.averaged():
            return super().evaluate(*arguments, **named)

    def evaluation_loop(self, *arguments: Any, **named: Any) -> Any:
        """The losses, and the WER where that decides."""
        output = super().evaluation_loop(*arguments, **named)
        if self.validation:
            output.metrics["eval_wer"] = self.validation.wer(self.model, self.accelerator)
        return output

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Of equal error rates the one with the lower loss; training ends when patience does."""
        best = best_evaluation(self.state.log_history, self.options)
        improved = best is not None and best["step"] == self.state.global_step
        if best and improved:
            self.state.best_metric = best[f"eval_{self.options.best_by}"]
            self.state.best_global_step = self.state.global_step
        if out_of_patience(self.state.log_history, self.options):
            _log.info("Training ends at step %d: patience=%d", self.state.global_step, self.options.patience)
            self.control.should_training_stop = self.control.should_save = True
        return improved

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        from torch.utils.data import SequentialSampler

        return SequentialSampler(train_dataset if train_dataset is not None else self.train_dataset)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Load through from_pretrained, which knows that Voxtral's weights have other names on disk than in memory.

        transformers 5.23's own way compares the names as they are, finds none that fit, warns, and goes on with the base weights.
        """
        if (Path(resume_from_checkpoint) / "adapter_config.json").is_file() or self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            if self.average:
                self.average.go_on_from(Path(resume_from_checkpoint))
            return
        restored = type(self.model).from_pretrained(resume_from_checkpoint, dtype=self.model.dtype)
        with self.whole():
            self.model.load_state_dict(restored.state_dict())


def training_arguments(folder: Path, options: TrainingOptions, steps: int, on_gpu: bool, fitting: Footprint) -> TrainingArguments:
    """The Trainer's own arguments. The plan holds all epochs, so that the Trainer sees a single one."""
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=fitting.rows,
        per_device_eval_batch_size=fitting.rows,
        gradient_accumulation_steps=accumulation(options, ranks.count(), fitting.rows),
        learning_rate=options.learning_rate,
        lr_scheduler_type=options.schedule,
        warmup_steps=options.warmup_share,
        weight_decay=options.weight_decay,
        max_grad_norm=options.gradient_clip,
        optim=_OPTIMIZERS[options.optimizer],
        bf16=on_gpu,
        use_cpu=not on_gpu,
        seed=options.seed,
        data_seed=options.seed,
        save_strategy="steps",
        save_steps=options.checkpoint_steps,
        eval_strategy="steps",
        eval_steps=options.checkpoint_steps,
        metric_for_best_model=f"eval_{options.best_by}",
        greater_is_better=False,
        prediction_loss_only=True,
        logging_steps=10,
        logging_nan_inf_filter=False,  # a loss that is no number is an error, not a gap
        remove_unused_columns=False,
        dataloader_pin_memory=on_gpu,
        ddp_find_unused_parameters=False,
        disable_tqdm=True,
        report_to=[],
    )


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint of a run, if there is one."""
    complete = [mark.parent for mark in folder.glob(f"checkpoint-*/{_COMPLETE}")]
    return max(complete, key=step_of, default=None)


def last_step(steps: int, checkpoint: Path | None, options: TrainingOptions) -> int:
    """At which step a training of so many ends: a checkpoint that ran out of patience is its last."""
    if checkpoint is None:
        return steps
    history = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    return step_of(checkpoint) if out_of_patience(history, options) else steps


def step_of(checkpoint: Path) -> int:
    """The step after which a checkpoint was written."""
    return int(checkpoint.name.rpartition("-")[2])


def _keep_only(kept: set[Path]) -> None:
    """Of a run's checkpoints; the marks go first, so that none is ever half there and marked."""
    folder = next(iter(kept)).parent
    for checkpoint in set(folder.glob("checkpoint-*")) - kept:
        (checkpoint / _COMPLETE).unlink(missing_ok=True)
        shutil.rmtree(checkpoint)


def remove_torn_checkpoints(folder: Path) -> None:
    """Remove what was cut short while it was written: nothing goes on from it, and it takes room."""
    for checkpoint in folder.glob("checkpoint-*"):
        if not (checkpoint / _COMPLETE).exists():
            shutil.rmtree(checkpoint, ignore_errors=True)
