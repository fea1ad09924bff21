"""A demo as a process on this machine, reachable on loopback only, gone when the block ends."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.errors import SpaceDidNotStart
from infra.processes import free_port, last_lines, start, stop
from tasks.contracts import StagedModel

_POLL_S = 0.25
_GRACE_S = 10


@contextmanager
def running_space(folder: Path, staged: StagedModel, timeout_s: float) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Start the demo of `folder`; yield its URL and its process once it answers.

    Raises:
        SpaceDidNotStart: it ended or did not answer in time; the message carries the last lines of its log.

    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        "HF_MODEL_ID": str(staged.folder),
        "HF_BASE_MODEL_ID": str(staged.report.model.base.folder),
        "HF_HUB_OFFLINE": "1",
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_ANALYTICS_ENABLED": "False",
    }
    log_path = folder / "space.log"
    with log_path.open("wb") as log:
        process = start([sys.executable, "app.py"], environment, log, folder)
        try:
            _wait(process, url, timeout_s, log_path)
            yield url, process
        finally:
            stop(process, _GRACE_S)


def _wait(process: "subprocess.Popen[bytes]", url: str, timeout_s: float, log_path: Path) -> None:
    import httpx

    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SpaceDidNotStart(
                f"The demo ended with code {process.returncode}:\n{last_lines(log_path)}\n", f"Read {log_path}"
            )
        try:
            if httpx.get(f"{url}/config", timeout=5).is_success:
                return
        except httpx.TransportError:
            pass  # it does not listen yet
        time.sleep(_POLL_S)
    raise SpaceDidNotStart(
        f"The demo did not answer within {timeout_s:g} s:\n{last_lines(log_path)}\n",
        "Raise VOXFACTORY_SPACE_TIMEOUT_S if it only needs longer",
    )
