"""`voxfactory up`: the factory on one machine. A Prefect server, a work pool, every deployment of prefect.yaml, and a worker.

Flows are then started from the Prefect UI, on a schedule or by an event; this process only keeps server and worker alive.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from deployments.server import prefect_server
from infra.errors import ServerError
from infra.processes import last_lines, start, stop
from infra.settings import Settings

_PREFECT = (sys.executable, "-m", "prefect", "--no-prompt")
_POOL = "gpu"  # one run at a time: a training takes the whole GPU, or the whole processor
_ROOT = Path(__file__).resolve().parents[1]
_GRACE_S = 30  # a worker waits for its runs, and a training needs time for a checkpoint


def local_factory(settings: Settings, ready: Callable[[str], None]) -> None:
    """Run until Ctrl-C; `ready` is told the address of the UI once server, deployments and worker are there.

    Raises:
        ServerError: the server, a deployment or the worker fails; the message carries what Prefect said.

    """
    if not (_ROOT / "prefect.yaml").is_file():
        raise ServerError(f"{_ROOT} holds no prefect.yaml", "Run it from a clone of the repository")
    with prefect_server(settings) as ui:
        # The worker hands its environment to the runs; they may work in another folder.
        os.environ |= {"VOXFACTORY_ROOT": str(_ROOT), "VOXFACTORY_HOME": str(settings.folder(""))}
        os.environ["VOXFACTORY_PREFECT_API_URL"] = os.environ["PREFECT_API_URL"]
        _prefect("work-pool", "create", _POOL, "--type", "process", "--overwrite")
        _prefect("work-pool", "update", _POOL, "--concurrency-limit", "1")
        _prefect("deploy", "--all")
        log_path = settings.folder("prefect") / "worker.log"
        with log_path.open("wb") as log:
            worker = start([*_PREFECT, "worker", "start", "--pool", _POOL], {"PREFECT_WORKER_QUERY_SECONDS": "2"}, log)
            try:
                ready(ui)
                worker.wait()
            finally:
                stop(worker, _GRACE_S)
        raise ServerError(f"The worker ended:\n{last_lines(log_path)}\n", f"Read {log_path}")


def _prefect(*arguments: str) -> None:
    done = subprocess.run([*_PREFECT, *arguments], cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServerError(
            f"prefect {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}\n", "Correct what it says and start again"
        )
