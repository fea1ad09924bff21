"""Runs a flow in this process, against a server, with progress bars instead of log lines.

Prefect keeps the full log of every run on the server; the console shows bars, and where the UI is.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from infra.progress import Progress, listening
from infra.settings import settings
from infra.storage import disk_errors

if TYPE_CHECKING:
    from rich.progress import TaskID

Result = TypeVar("Result")


def run_flow(call: Callable[[], Result]) -> Result:
    """Run `call`, which imports and calls a flow, while a Prefect server answers."""
    from deployments.server import prefect_server

    home = settings().folder("prefect").parent  # an unwritable home is told before anything starts
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    with disk_errors(home), prefect_server(settings()) as ui, progress_bars():
        sys.stderr.write(f"Prefect UI: {ui}\n")
        return call()


@contextmanager
def progress_bars() -> Iterator[None]:
    """Draw one bar a stage on standard error; without a terminal, a line at each tenth."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        with listening(_Lines()):
            yield
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:<40}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bars(*columns, console=console) as bars:
        drawn: dict[str, TaskID] = {}

        def draw(progress: Progress) -> None:
            if progress.stage not in drawn:
                drawn[progress.stage] = bars.add_task(progress.stage, total=progress.total, note="")
            bars.update(drawn[progress.stage], completed=progress.done, total=progress.total, note=progress.note)

        with listening(draw):
            yield


class _Lines:
    """A line at each tenth of a stage."""

    def __init__(self) -> None:
        self._shown: dict[str, int] = {}

    def __call__(self, progress: Progress) -> None:
        tenth = 10 * progress.done // max(1, progress.total)
        if tenth > self._shown.get(progress.stage, -1):
            self._shown[progress.stage] = tenth
            sys.stderr.write(f"{progress.stage}: {progress.done}/{progress.total} {progress.note}\n")
            sys.stderr.flush()


def quiet_libraries() -> None:
    """Libraries that print bars and warnings of their own are told not to."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    logging.getLogger("mistral_common").setLevel(logging.ERROR)
