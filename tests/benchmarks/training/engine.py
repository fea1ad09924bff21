"""This project's own training process, watched: `python -m tests.benchmarks.training.engine SPEC.json`.

Runs what `python -m tasks.training.process SPEC.json` runs. The time of validation and of writing checkpoints is told apart from that of
training; filling the feature store counts as training.
"""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from tasks.training import process, trainer, window_features
from tasks.training.plan import PlanRow
from tests.benchmarks.training.measured import Measured, peak_bytes


class Watch(TrainerCallback):
    """Wall-clock time of training, without that of evaluation and saving; what is spent outside the model."""

    def __init__(self) -> None:
        self.spent_s, self.since_s = 0.0, 0.0
        self.model_s: list[float] = []
        self.periods_s: list[float] = []
        self.losses: list[float] = []
        self.step_ends_s: list[float] = []
        self.checkpoints_s: list[tuple[int, float]] = []
        self._model_s, self._validated_s = 0.0, 0.0

    def features(self, seconds: float) -> None:
        """Count the time of the feature store."""
        self.spent_s += seconds

    def in_model(self, seconds: float) -> None:
        """Count the time of a forward and backward pass; the optimizer's counts as outside."""
        self._model_s += seconds

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Begin."""
        self.since_s = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Count a step."""
        now_s = time.perf_counter()
        self.periods_s.append(now_s - self.since_s)
        self.model_s.append(self._model_s)
        self.spent_s, self.since_s, self._model_s = self.spent_s + now_s - self.since_s, now_s, 0.0
        self.step_ends_s.append(self.spent_s)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Keep each step's loss, and leave out what follows it."""
        if logs and "loss" in logs:
            self.losses.append(logs["loss"])

    def on_evaluate(self, *_: Any, **__: Any) -> None:
        """Count its time apart."""
        now_s = time.perf_counter()
        self._validated_s += now_s - self.since_s
        self.since_s = now_s

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep the checkpoint's adapter, and leave the time out."""
        written = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        kept = Path(args.output_dir) / "kept" / written.name
        kept.mkdir(parents=True)
        for path in written.glob("adapter_*"):
            shutil.copy2(path, kept)
        self.checkpoints_s.append((state.global_step, self.spent_s + self._validated_s))
        self.since_s = time.perf_counter()


def watched(watch: Watch) -> None:
    """Put stopwatches on the product's own training."""
    prepare, init, arguments = window_features.WindowFeatures.prepare, trainer.PlannedTrainer.__init__, trainer.training_arguments
    step = trainer.PlannedTrainer.training_step

    def timed_prepare(self: Any, *given: Any, **named: Any) -> None:
        begun_s = time.perf_counter()
        prepare(self, *given, **named)
        watch.features(time.perf_counter() - begun_s)

    def with_watch(self: Any, *given: Any, **named: Any) -> None:
        init(self, *given, **named)
        self.add_callback(watch)

    def every_loss(*given: Any, **named: Any) -> Any:
        made = arguments(*given, **named)
        made.logging_steps = 1
        return made

    def timed_step(self: Any, *given: Any, **named: Any) -> Any:
        begun_s = time.perf_counter()
        loss = step(self, *given, **named)
        watch.in_model(time.perf_counter() - begun_s)
        return loss

    window_features.WindowFeatures.prepare = timed_prepare  # type: ignore[method-assign]
    trainer.PlannedTrainer.__init__ = with_watch  # type: ignore[method-assign]
    trainer.training_arguments = every_loss
    trainer.PlannedTrainer.training_step = timed_step  # type: ignore[method-assign]


def main(spec_path: Path) -> int:
    """Train, and write result.json."""
    watch = Watch()
    watched(watch)
    code = process.main(spec_path)
    folder = spec_path.parent
    spec = process.TrainingSpec.model_validate_json(spec_path.read_text())
    rows = [PlanRow.model_validate_json(line) for line in (folder / "plan.jsonl").read_text().splitlines()]
    a_step = spec.options.batch_size * spec.options.gradient_accumulation
    last = {row.epoch: place // a_step for place, row in enumerate(rows)}
    cached = len(watch.periods_s) // 2  # the first steps warm up
    outside = 1 - sum(watch.model_s[cached:]) / sum(watch.periods_s[cached:])
    measured = Measured(
        seconds=watch.spent_s,
        epochs_s=tuple(watch.step_ends_s[step] for _, step in sorted(last.items())),
        checkpoints_s=tuple(watch.checkpoints_s),
        losses=tuple(watch.losses),
        peak_bytes=peak_bytes(),
        overhead=outside,
    )
    (folder / "result.json").write_text(json.dumps(measured.model_dump()))
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
