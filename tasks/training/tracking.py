"""The figures of a training, step by step, for the parent and for Trackio (`tracker`): whatever becomes of them, training goes on.

The callback computes them and writes them into pipes, which takes microseconds; for Trackio, a process of its own does the rest. If that
ends, hangs or complains, training.log gets one warning.
"""

import json
import logging
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from infra.processes import last_lines, start
from infra.settings import settings
from infra.tracking import space_token
from tasks.training import channel
from tasks.training.gpus import find_gpus

if TYPE_CHECKING:
    from tasks.training.process import TrainingSpec

_FIGURES = {
    "loss": "loss",
    "learning_rate": "learning_rate",
    "grad_norm": "gradient_norm",
    "eval_loss": "validation_loss",
    "eval_wer": "validation_wer",
}
_PATIENCE_S = 10.0  # for the tracker's end; it takes some tenths
_GIBIBYTE = 1 << 30
_KIBIBYTE = 1 << 10
_log = logging.getLogger(__name__)


class Tracker:
    """The process that speaks to Trackio."""

    def __init__(self, spec: "TrainingSpec") -> None:
        self._path = spec.folder / "training_results" / "tracking.log"
        self._process: subprocess.Popen[bytes] | None = None
        command = [sys.executable, "-m", "tasks.training.tracker", str(spec.folder / "spec.json")]
        reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        try:
            with self._path.open("ab") as log:
                self._process = start(command, space_token(settings()), log, given=reading)
        except OSError as error:
            self._lose(str(error))
        finally:
            os.close(reading)

    def write(self, step: int, figures: dict[str, float]) -> None:
        """Hand over the figures of a step."""
        if self._process is None:
            return
        try:
            os.write(self._writing, f"{json.dumps([step, figures])}\n".encode())
        except BlockingIOError:
            self._lose("it takes nothing any more")
        except OSError:
            self._lose(self._last_word())

    def end(self) -> None:
        """Let it finish, for as long as there is patience."""
        os.close(self._writing)
        if self._process is None:
            return
        try:
            if self._process.wait(_PATIENCE_S) != 0:
                self._lose(self._last_word())
        except subprocess.TimeoutExpired:
            self._lose(f"it did not end within {_PATIENCE_S:g} s")

    def _last_word(self) -> str:
        """Of a process that reads no more: it is about to end, and says why before it does."""
        if self._process:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_PATIENCE_S)
        return last_lines(self._path, 1).rstrip(".") or "it said nothing"

    def _lose(self, reason: str) -> None:
        _log.warning("Trackio does not have all figures of this training, which goes on: %s. See %s", reason, self._path)
        if self._process:
            self._process.kill()  # it is not waited for: what hangs in the kernel cannot be killed
        self._process = None


class Track(TrainerCallback):
    """Tells the parent, and a tracker if there is one: losses, WER, learning rate, norm of the gradient, speed, memory, use of the GPUs.

    Speed is the length of the rows that were trained on, by the time that their steps took, reading included, without evaluations
    and checkpoints.
    """

    def __init__(self, durations_s: Sequence[float], rows_a_step: int, tracker: Tracker | None) -> None:
        self._durations_s, self._rows_a_step, self._tracker = durations_s, rows_a_step, tracker
        self._gpus = find_gpus()
        self._told_step = 0
        self._training_s = self._since_s = 0.0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Begin to count, at the step that is resumed from."""
        self._told_step, self._since_s = state.global_step, time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Count the step's time."""
        now_s = time.monotonic()
        self._training_s, self._since_s = self._training_s + now_s - self._since_s, now_s

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Leave its time out."""
        self._since_s = time.monotonic()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Leave its time out."""
        self._since_s = time.monotonic()

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any) -> None:
        """Hand over what the Trainer tells, and what we know besides."""
        figures = {ours: float(logs[theirs]) for theirs, ours in _FIGURES.items() if theirs in logs}
        if "loss" in figures:
            figures |= {"audio_seconds_per_second": self._speed(state.global_step), **peak_memory_gib(), **self._use()}
        if figures:
            channel.send(channel.Figures(step=state.global_step, figures=figures))
        if figures and self._tracker:
            self._tracker.write(state.global_step, figures)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Let the tracker finish."""
        if self._tracker:
            self._tracker.end()

    def _use(self) -> dict[str, float]:
        """The mean over the GPUs, or nothing where one of them does not tell."""
        used = [gpu.use_percent() for gpu in self._gpus]
        told = [percent for percent in used if percent is not None]
        return {"gpu_use_percent": sum(told) / len(told)} if told and len(told) == len(used) else {}

    def _speed(self, step: int) -> float:
        rows = slice(self._told_step * self._rows_a_step, step * self._rows_a_step)
        speed = sum(self._durations_s[rows]) / self._training_s
        self._told_step, self._training_s = step, 0.0
        return speed


def peak_memory_gib() -> dict[str, float]:
    """The most memory that this process has had until now, and on a GPU."""
    import torch

    peaks = {"peak_memory_gib": _peak_bytes(Path("/proc/self/status")) / _GIBIBYTE}
    if torch.cuda.is_available():
        peaks["peak_gpu_memory_gib"] = torch.cuda.max_memory_allocated() / _GIBIBYTE
    return peaks


def _peak_bytes(status: Path) -> int:
    """As Linux tells it: getrusage there counts in what the process was before exec, a copy of its parent."""
    if status.is_file():
        kibibytes = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(kibibytes) * _KIBIBYTE
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
