"""What `voxfactory up` shows in the terminal: what runs where, and the newest runs with how far they are.

On a terminal the page is drawn anew every two seconds. Elsewhere it is printed once, and then a line for each part that changed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deployments.local import Part

if TYPE_CHECKING:
    from deployments.newest_runs import RunLine


_COLOURS = {"COMPLETED": "green", "RUNNING": "cyan", "FAILED": "red", "CRASHED": "red", "CANCELLED": "yellow"}


@contextmanager
def status_page(console: Console) -> Iterator[Callable[[list[Part]], None]]:
    """What shows the parts and the runs on the server at PREFECT_API_URL, whenever it is called."""
    if not console.is_terminal:
        yield _Printed(console)
        return
    with Live(console=console, auto_refresh=False) as live:

        def draw(parts: list[Part]) -> None:
            from deployments.newest_runs import newest_runs  # Prefect reads its settings when it is imported: once they stand

            runs = newest_runs()
            live.update(Group(parts_table(parts), runs_table(runs)), refresh=True)

        yield draw


class _Printed:
    """The page once, then what became different."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: list[Part] = []

    def __call__(self, parts: list[Part]) -> None:
        if not self._shown:
            self._console.print(parts_table(parts))
        else:
            for part in parts:
                if part not in self._shown:
                    self._console.print(*part, highlight=False, soft_wrap=True)
        self._shown = parts


def parts_table(parts: list[Part], title: str = "VoxFactory runs; Ctrl-C ends it") -> Table:
    """What runs, and where."""
    table = Table(title=title, title_justify="left", show_header=False)
    for part in parts:
        table.add_row(*part)
    return table


def runs_table(runs: "list[RunLine] | None") -> Table:
    """The newest runs; None: the server does not answer."""
    table = Table(title="Runs", title_justify="left", show_header=False, min_width=60)
    for run in runs or []:
        table.add_row(run.name, Text(run.state, _COLOURS.get(run.kind, "")), run.since, run.progress)
    if not runs:
        table.add_row("none yet: start one in the Prefect UI" if runs is not None else "the Prefect server does not answer now")
    return table
