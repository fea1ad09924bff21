"""What the training process tells its parent: one JSON object a line on standard output. Everything else it prints is log."""

import os
import sys
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from tasks.contracts import Contract
from tasks.training import ranks
from tasks.training.footprint import Footprint


class Features(Contract):
    """Of the utterances that training needs, so many have their features."""

    kind: Literal["features"] = "features"
    done: int
    total: int


class Step(Contract):
    """An optimizer step was made."""

    kind: Literal["step"] = "step"
    step: int
    steps: int
    note: str  # the last loss, and the last WER


class Figures(Contract):
    """What was measured at a step, by name; a loss that is no number is None."""

    kind: Literal["figures"] = "figures"
    step: int
    figures: dict[str, float | None]


class Stopped(Contract):
    """A signal came; there is a checkpoint of this step, or none at step 0: it came before the first."""

    kind: Literal["stopped"] = "stopped"
    step: int


class Failed(Contract):
    """A user error: its class name, what was wrong, what to do."""

    kind: Literal["failed"] = "failed"
    error: str
    problem: str
    fix: str


class OutOfMemory(Contract):
    """Memory did not suffice for so many rows at a time in each of so many processes."""

    kind: Literal["out_of_memory"] = "out_of_memory"
    tried: Footprint
    processes: int


class Finished(Contract):
    """The run is complete and its outputs are written."""

    kind: Literal["finished"] = "finished"


Message = Features | Step | Figures | Stopped | Failed | OutOfMemory | Finished
_parser: TypeAdapter[Message] = TypeAdapter(Message)


def send(message: Message) -> None:
    """Write a message for the parent.

    Of several processes that train together, the first speaks; the others only to say why they cannot go on.
    A parent that is gone needs none: the signal of its death ends the training in order, and whatever is still printed goes nowhere.
    """
    if not ranks.is_first() and not isinstance(message, Failed | OutOfMemory):
        return
    try:
        sys.stdout.write(message.model_dump_json() + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())


def receive(line: str) -> Message | None:
    """The message in a line, or None where the line is ordinary output."""
    if not line.startswith('{"kind":'):
        return None
    try:
        return _parser.validate_json(line)
    except ValidationError:
        return None
