"""Keeps child processes alive: one that ends by itself is started again, unless it does nothing but end.

A server that is killed, a worker that runs out of memory: what they were doing is found again by Prefect and by our caches; what is
needed is that they are there again.
"""

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType

from infra.errors import ServerError
from infra.processes import last_lines, start, stop

_QUICK_S = 60.0  # whatever ran for longer has worked: its end is a new matter
_WAITS_S = (0.0, 1.0, 2.0, 4.0, 8.0)  # before each further start of one that ends quickly
_GRACE_S = 45  # a worker waits for its runs, and a training needs time for a checkpoint


@dataclass
class Kept:
    """A process that is kept alive."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    with_secrets: bool
    log: Path
    process: "subprocess.Popen[bytes]"
    started: datetime
    started_s: float
    needed: bool = True  # everything ends where it does nothing but end; else it is tried for ever
    starts: int = 1
    quick_ends: int = 0
    due_s: float | None = None  # it has ended and is to be started again then

    @property
    def note(self) -> str:
        """For people: since when it runs, and where its log is."""
        since = "" if self.starts == 1 else f"started again at {self.started:%H:%M:%S}, "
        return f"{since}log: {self.log}"


class Supervisor:
    """Starts processes, looks after them, and stops them with itself, the last one first."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self.kept: list[Kept] = []

    def __enter__(self) -> "Supervisor":
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        for kept in reversed(self.kept):
            stop(kept.process, _GRACE_S)

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        with_secrets: bool = True,
        needed: bool = True,
    ) -> Kept:
        """Start a command whose output goes to a log named like it; see `infra.processes.start` for secrets."""
        log = self._logs / f"{name.replace(' ', '-')}.log"
        log.unlink(missing_ok=True)
        log.touch(mode=0o600)  # Trackio prints the token that lets one delete
        process = _started(command, environment or {}, log, with_secrets)
        now, now_s = datetime.now().astimezone(), time.monotonic()
        kept = Kept(name, command, environment or {}, with_secrets, log, process, now, now_s, needed)
        self.kept.append(kept)
        return kept

    def look(self) -> list[str]:
        """Start again what has ended; the names of what was.

        Raises:
            ServerError: a process ended again and again; with what it said last.

        """
        return [kept.name for kept in self.kept if _is_started_again(kept)]


def _is_started_again(kept: Kept) -> bool:
    now = time.monotonic()
    if kept.due_s is None:
        if kept.process.poll() is None:
            return False
        kept.quick_ends = kept.quick_ends + 1 if now - kept.started_s < _QUICK_S else 1
        if kept.quick_ends > len(_WAITS_S) and kept.needed:
            raise ServerError(f"The {kept.name} ends whenever it is started:\n{last_lines(kept.log)}\n", f"Read {kept.log}")
        kept.due_s = now + _WAITS_S[min(kept.quick_ends, len(_WAITS_S)) - 1]
    if now < kept.due_s:
        return False
    stop(kept.process, _GRACE_S)  # what it has left behind in its group
    kept.process = _started(kept.command, kept.environment, kept.log, kept.with_secrets)
    kept.started, kept.started_s, kept.due_s = datetime.now().astimezone(), now, None
    kept.starts += 1
    return True


def _started(command: Sequence[str], environment: Mapping[str, str], log: Path, with_secrets: bool) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return start(command, dict(environment), output, with_secrets=with_secrets)
