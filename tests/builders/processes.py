"""What processes of tests are started with."""

import os
import signal
from pathlib import Path


def environment(home: Path, server: str) -> dict[str, str]:
    """The variables of a user who has a server running."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "VOXFACTORY_"))}
    return kept | {
        "VOXFACTORY_HOME": str(home),
        "VOXFACTORY_PREFECT_API_URL": server,
        "VOXFACTORY_PROCESSES": "2",
        "COLUMNS": "200",
    }


def hear_interrupts() -> None:
    """For a child's start: background jobs of a shell are born deaf to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
