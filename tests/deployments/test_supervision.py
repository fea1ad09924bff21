"""What `voxfactory up` keeps alive."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from deployments import supervision
from deployments.local import Part
from deployments.status_page import status_page
from deployments.supervision import Supervisor
from infra.errors import ServerError

pytestmark = pytest.mark.fast
RUNS_ON = [sys.executable, "-uc", "import time\nprint('begun')\nwhile True: time.sleep(60)"]


def eventually(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_is_killed_is_started_again_and_what_was_said_is_kept(tmp_path: Path):
    with Supervisor(tmp_path) as supervisor:
        kept = supervisor.start("worker cpu", RUNS_ON)
        eventually(lambda: kept.log.read_text().count("begun") == 1)
        assert supervisor.look() == []
        os.kill(kept.process.pid, signal.SIGKILL)
        eventually(lambda: supervisor.look() == ["worker cpu"])
        eventually(lambda: kept.log.read_text().count("begun") == 2)
        assert "started again at" in kept.note
        assert kept.log == tmp_path / "worker-cpu.log"
        last = kept.process.pid
    assert not psutil.pid_exists(last)


def test_what_only_ends_is_told_with_what_it_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(supervision, "_WAITS_S", (0.0, 0.0))
    with Supervisor(tmp_path) as supervisor:
        supervisor.start("webhook", [sys.executable, "-c", "raise SystemExit('the port is taken')"])
        with pytest.raises(ServerError, match=r"(?s)webhook ends whenever it is started.*the port is taken"):
            eventually(lambda: supervisor.look() == ["for ever"])


def test_what_is_not_needed_is_tried_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(supervision, "_WAITS_S", (0.0,))
    with Supervisor(tmp_path) as supervisor:
        kept = supervisor.start("trackio", [sys.executable, "-c", "raise SystemExit('the port is taken')"], needed=False)
        for _ in range(3):
            eventually(lambda: supervisor.look() == ["trackio"])
    assert kept.starts == 4


def test_one_that_ends_makes_room_for_none_of_its_children(tmp_path: Path):
    """A worker that was killed leaves runs behind: they are ended before another worker takes them."""
    child = f"import subprocess, sys\nprint(subprocess.Popen({RUNS_ON}).pid, flush=True)\nimport time\ntime.sleep(60)"
    with Supervisor(tmp_path) as supervisor:
        kept = supervisor.start("worker gpu", [sys.executable, "-c", child])
        eventually(lambda: kept.log.read_text().count("\n") == 2)
        orphan = int(next(line for line in kept.log.read_text().split() if line.isdigit()))
        os.kill(kept.process.pid, signal.SIGKILL)
        eventually(lambda: supervisor.look() == ["worker gpu"])
        assert not psutil.pid_exists(orphan) or psutil.Process(orphan).status() == psutil.STATUS_ZOMBIE


def test_without_a_terminal_the_page_is_printed_once_and_then_what_changed(capsys: pytest.CaptureFixture[str]):
    from rich.console import Console

    first, changed = Part("server", "runs", "log: a"), Part("server", "runs", "started again at 12:00, log: a")
    with status_page(Console()) as show:
        show([Part("Prefect UI", "http://127.0.0.1:4200", ""), first])
        assert "Prefect UI" in capsys.readouterr().out
        show([Part("Prefect UI", "http://127.0.0.1:4200", ""), first])
        assert capsys.readouterr().out == ""
        show([Part("Prefect UI", "http://127.0.0.1:4200", ""), changed])
        assert capsys.readouterr().out == "server runs started again at 12:00, log: a\n"
