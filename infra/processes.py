"""Child processes that do not outlive us: each in a session of its own, ended as a group, on Linux even when we are killed."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1  # prctl(2)
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def start(
    command: Sequence[str], environment: dict[str, str], output: "IO[bytes] | int", folder: Path | None = None
) -> "subprocess.Popen[bytes]":
    """Start a command with its errors in its output, without input, in a process group of its own.

    On Linux the kernel sends it SIGTERM when this process dies, however it dies.
    """
    return subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_end_with_parent if _libc else None,
    )


def _end_with_parent() -> None:
    if _libc:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def worker_pool(processes: int, calls_a_process: int | None = None) -> Iterator[ProcessPoolExecutor]:
    """Processes that share out work of ours. Ctrl-C is for this process alone: what they have not begun is then dropped."""
    pool = ProcessPoolExecutor(
        processes,
        mp_context=get_context("spawn"),
        initializer=_leave_interrupts_to_parent,
        max_tasks_per_child=calls_a_process,
    )
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def stop(process: "subprocess.Popen[bytes]", grace_s: float) -> None:
    """SIGTERM to the process group, time to end well, then SIGKILL; output that is still piped is thrown away."""
    for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, number)
            process.communicate(timeout=wait_s)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
        break
    process.wait()


def free_port() -> int:
    """A loopback port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def last_lines(path: Path, lines: int = 15) -> str:
    """The end of a log, for an error message."""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
