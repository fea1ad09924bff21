"""Trainings that are disturbed."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tasks.training import channel, launch


def signal_after(steps: int, number: signal.Signals, monkeypatch: pytest.MonkeyPatch, written: Path | None = None) -> None:
    """Send the training process a signal once it has reported so many steps, and this file is written."""
    receive, start = channel.receive, launch.start
    started: list[subprocess.Popen[bytes]] = []

    def remember(*arguments: object, **named: object) -> "subprocess.Popen[bytes]":
        started.append(start(*arguments, **named))
        return started[-1]

    def watch(line: str) -> "channel.Message | None":
        message = receive(line)
        if isinstance(message, channel.Step) and message.step == steps:
            while written and not written.exists():
                time.sleep(0.005)
            os.kill(started[-1].pid, number)
        return message

    monkeypatch.setattr(launch, "start", remember)
    monkeypatch.setattr(channel, "receive", watch)
