"""Child processes that do not outlive us: each in a session of its own, ended as a group, on Linux even when we are killed."""

import ctypes
import gc
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_AS_IT_HAPPENS = {"PYTHONUNBUFFERED": "1"}  # logs are read while a process of ours runs, and after it was killed
_PR_SET_PDEATHSIG = 1  # prctl(2)
_SECRET = re.compile(r"(^|_)(TOKEN|SECRET|PASSWORD|API_KEY|AUTH_STRING)(_|$)")  # names of variables
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


@contextmanager
def without_cycle_search() -> Iterator[None]:
    """While the block runs, Python looks for no cycles: among a hundred thousand rows are none, and looking takes a third of the time."""
    searching = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searching:
            gc.enable()


def without_secrets() -> dict[str, str]:
    """The variables of this process but for tokens, passwords and their like."""
    return {name: value for name, value in os.environ.items() if not _SECRET.search(name)}


def start(
    command: Sequence[str],
    environment: dict[str, str],
    output: "IO[bytes] | int",
    folder: Path | None = None,
    *,
    given: int = subprocess.DEVNULL,
    with_secrets: bool = False,
) -> "subprocess.Popen[bytes]":
    """Start a command with its errors in its output, `given` (nothing) as its input, in a process group of its own.

    It gets no token of ours unless it needs them all (`with_secrets`) or is given one in `environment`. On Linux the kernel sends it
    SIGTERM when this process dies, however it dies.
    """
    return subprocess.Popen(
        command,
        cwd=folder,
        env=_AS_IT_HAPPENS | (dict(os.environ) if with_secrets else without_secrets()) | environment,
        stdin=given,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=end_with_parent,
    )


def end_with_parent(number: signal.Signals = signal.SIGTERM) -> None:
    """For a child, before it begins: a signal when its parent dies (Linux)."""
    if _libc:
        _libc.prctl(_PR_SET_PDEATHSIG, number)


@contextmanager
def worker_pool(processes: int, environment: Mapping[str, str] | None = None) -> Iterator[Executor]:
    """Processes that share out work of ours, and are ended when the block is left by an error or by Ctrl-C, which is for us alone.

    They get these variables beside ours before they import anything. The pool is loky's, since the standard library's may wait for ever
    when a process is killed while work is handed in.

    Raises:
        BrokenProcessPool: from a call, when a process was killed.

    """
    from loky import ProcessPoolExecutor

    pool = ProcessPoolExecutor(processes, initializer=leave_to_parent, env=dict(environment or {}))
    try:
        yield pool
    except BaseException:  # Ctrl-C and Prefect's TerminationSignal are no Exceptions
        pool.shutdown(kill_workers=True)
        raise
    pool.shutdown()


def leave_to_parent() -> None:
    """For a worker process, as it begins: Ctrl-C is for its parent, with which it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


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
