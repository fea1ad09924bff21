"""Runs the training process, forwards its progress, and never leaves it behind.

Whatever ends the parent's wait (Ctrl-C, a cancelled flow run, an error) reaches the child as SIGTERM; the child writes a checkpoint
within the grace period, or is killed.
"""

import signal
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import infra.errors
from infra import progress
from infra.errors import TrainingError, TrainingInterrupted, TrainingLost
from infra.processes import start, stop
from infra.settings import settings
from infra.storage import content_hash, exclusive, readable, write_text
from infra.tracking import space_token
from tasks.contracts import Checkpoint, DatasetVersion, TrainedModel
from tasks.training import channel
from tasks.training.options import TrainingOptions
from tasks.training.outputs import read_outputs
from tasks.training.process import TrainingSpec

TRAIN_VERSION = 2  # raise it when equal input would give other weights: it is part of the address
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
        TrainingError: it failed; the message carries the last lines of its output.

    """
    with exclusive(spec.folder.with_name(f".{spec.folder.name}.lock")):
        if not (spec.folder / "train_results.json").exists():
            spec.folder.mkdir(parents=True, exist_ok=True)
            _run(write_text(spec.folder / "spec.json", spec.model_dump_json(indent=2)))
    return read_outputs(spec)


def _run(spec_path: Path) -> None:
    command = [sys.executable, "-m", "tasks.training.process", str(spec_path)]
    environment = {"TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"} | space_token(settings())
    process = start(command, environment, subprocess.PIPE)
    try:
        last, tail = _follow(process)
    except BaseException:  # Ctrl-C and Prefect's TerminationSignal are no Exceptions
        stop(process, _GRACE_S)
        raise
    if isinstance(last, channel.Finished):
        return
    if isinstance(last, channel.Stopped):
        kept = (
            f"at step {last.step} with a checkpoint" if last.step else "before its first step; the features that it has are kept"
        )
        raise TrainingInterrupted(f"Training stopped {kept}", "Run the same command to go on from there")
    if isinstance(last, channel.Failed):
        raise getattr(infra.errors, last.error, TrainingError)(last.problem, last.fix)
    advice = "Run the same command to go on from its last checkpoint"
    if process.returncode < 0:
        killer = signal.Signals(-process.returncode).name
        raise TrainingLost(f"The training process was killed by {killer}", f"Look for a lack of memory. {advice}")
    reason = "\n".join(tail) or "it said nothing"
    raise TrainingError(f"The training process ended with code {process.returncode}:\n{reason}\n", advice)


def _follow(process: "subprocess.Popen[bytes]") -> tuple[channel.Message | None, list[str]]:
    """Forward progress until the process ends; returns its last message and the last lines of its other output."""
    last: channel.Message | None = None
    tail: deque[str] = deque(maxlen=15)
    for encoded in process.stdout or ():
        line = encoded.decode(errors="replace")
        message = channel.receive(line)
        if message is None:
            tail.append(line.rstrip())
            continue
        last = message
        if isinstance(message, channel.Features):
            progress.report("features", message.done, message.total)
        elif isinstance(message, channel.Step):
            progress.report("train", message.step, message.steps, message.loss)
    process.wait()
    return last, list(tail)


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
