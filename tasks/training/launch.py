"""Runs the training process, or several by accelerate, forwards its progress, and never leaves it behind.

Whatever ends the parent's wait (Ctrl-C, a cancelled flow run, an error) reaches the child as SIGTERM; the child writes a checkpoint
within the grace period, or is killed.
"""

import signal
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import infra.errors
from infra import progress
from infra.errors import TrainingError, TrainingInterrupted, TrainingLost
from infra.processes import start, stop
from infra.settings import settings
from infra.storage import content_hash, exclusive, readable, write_text
from infra.tracking import space_token
from tasks.contracts import Checkpoint, DatasetVersion, TrainedModel
from tasks.training import channel, ranks
from tasks.training.footprint import lessen
from tasks.training.options import TrainingOptions
from tasks.training.outputs import read_outputs
from tasks.training.process import TrainingSpec

TRAIN_VERSION = 4  # raise it when equal input would give other weights: it is part of the address
_GRACE_S = 25  # Prefect's own runner allows 30


def run_address(
    base: Checkpoint,
    dataset: DatasetVersion,
    replay: Sequence[DatasetVersion],
    options: TrainingOptions,
    start: Checkpoint | None = None,
) -> str:
    """Where the run lies: equal base, data, split, options and first weights, equal run."""
    data = [version.content_address for version in (dataset, *replay)]
    return content_hash(TRAIN_VERSION, base.revision, data, options, *([start.revision] if start else []))[:16]


def train(spec: TrainingSpec) -> TrainedModel:
    """Train, or go on from the last checkpoint in `spec.folder`; returns at once where the run is finished.

    Another process that trains the same run is waited for.

    Raises:
        TrainingInterrupted: the process was told to stop and wrote a checkpoint.
        TrainingError: it failed; the message carries the last lines of its output, or what was tried against a lack of memory.

    """
    with exclusive(spec.folder.with_name(f".{spec.folder.name}.lock")):
        if not (spec.folder / "train_results.json").exists():
            spec.folder.mkdir(parents=True, exist_ok=True)
            _run(spec)
    return read_outputs(spec)


class _Heard(NamedTuple):
    """What the training process said: how it ended, the last step, the last lines of its other output, its exit code."""

    ended: channel.Message | None
    step: channel.Step | None
    tail: list[str]
    code: int


def _run(spec: TrainingSpec) -> None:
    """Run the process, and again, with less in memory at a time, while that is what it lacks."""
    path = write_text(spec.folder / "spec.json", spec.model_dump_json(indent=2))
    while isinstance((heard := _attempt(path)).ended, channel.OutOfMemory):
        less = lessen(spec.folder, heard.ended.tried, spec.options, heard.ended.processes)
        done, total = (heard.step.step, heard.step.steps) if heard.step else (0, 0)
        progress.report("train", done, total, f"out of memory, now {less}")
    _raise_unless_finished(heard)


def _attempt(spec_path: Path) -> _Heard:
    launched = settings().accelerate is not None
    module = "tasks.training.accelerated" if launched else "tasks.training.process"
    environment = {"TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"} | space_token(settings())
    if not launched:
        environment |= ranks.one_gpu()
    process = start([sys.executable, "-m", module, str(spec_path)], environment, subprocess.PIPE)
    try:
        return _follow(process)
    except BaseException:  # Ctrl-C and Prefect's TerminationSignal are no Exceptions
        stop(process, _GRACE_S)
        raise


def _raise_unless_finished(heard: _Heard) -> None:
    ended = heard.ended
    if isinstance(ended, channel.Finished):
        return
    if isinstance(ended, channel.Stopped):
        kept = (
            f"at step {ended.step} with a checkpoint"
            if ended.step
            else "before its first step; the features that it has are kept"
        )
        raise TrainingInterrupted(f"Training stopped {kept}", "Run the same command to go on from there")
    if isinstance(ended, channel.Failed):
        raise getattr(infra.errors, ended.error, TrainingError)(ended.problem, ended.fix)
    advice = "Run the same command to go on from its last checkpoint"
    if heard.code < 0:
        killer = signal.Signals(-heard.code).name
        raise TrainingLost(f"The training process was killed by {killer}", f"Look for a lack of memory. {advice}")
    reason = "\n".join(heard.tail) or "it said nothing"
    raise TrainingError(f"The training process ended with code {heard.code}:\n{reason}\n", advice)


def _follow(process: "subprocess.Popen[bytes]") -> _Heard:
    """Forward progress until the process ends. Of several that train together, the first that tells how it ended is believed."""
    ended: channel.Message | None = None
    step: channel.Step | None = None
    tail: deque[str] = deque(maxlen=15)
    for encoded in process.stdout or ():
        line = encoded.decode(errors="replace")
        message = channel.receive(line)
        if message is None:
            tail.append(line.rstrip())
        elif isinstance(message, channel.Features):
            progress.report("features", message.done, message.total)
        elif isinstance(message, channel.Step):
            step = message
            progress.report("train", message.step, message.steps, message.note)
        elif isinstance(message, channel.Figures):
            if step:
                progress.report("train", message.step, step.steps, step.note, message.figures)
        else:
            ended = ended or message
    return _Heard(ended, step, list(tail), process.wait())


def open_run(folder: Path) -> TrainedModel:
    """Read a finished run.

    Raises:
        TrainingError: the folder is no run, or the run is not finished.

    """
    if not (folder / "train_results.json").is_file():
        raise TrainingError(f"{folder} holds no finished training run", "Name a folder that `voxfactory train` printed")
    with readable(folder / "spec.json", TrainingError):
        spec = TrainingSpec.model_validate_json((folder / "spec.json").read_text())
    return read_outputs(spec.model_copy(update={"folder": folder}))
