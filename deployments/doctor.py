"""`voxfactory doctor`: is everything there that a run will need? Asked before any work, answered in seconds."""

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple

from infra.errors import HomeError, ServerError, VoxFactoryError
from infra.settings import Settings
from infra.tracking import has_dashboard

if TYPE_CHECKING:
    from rich.console import Console

_PYTHON = (3, 11)
_TOO_NEW = {"prefect": "3.9", "fastapi": "0.151", "sqlalchemy": "2.1"}
_CLOCK_S = 30.0  # half of a heartbeat's period
_ROOM_BYTES = 10_000_000_000  # a 3B model with its checkpoints wants several times as much


class Finding(NamedTuple):
    """What was looked at, and what was found; `trouble` says what to do about it."""

    what: str
    found: str
    trouble: str | None = None


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything, one thing after the other."""
    for what, look in _LOOKS.items():
        try:
            yield Finding(what, look(settings))
        except VoxFactoryError as error:
            yield Finding(what, error.problem, error.fix)


def print_findings(settings: Settings, console: "Console") -> bool:
    """Print them; tells whether there was no trouble."""
    well = True
    for what, found, trouble in examine(settings):
        well = well and trouble is None
        console.print(
            f"[green]ok[/]  {what:<8} {found}" if trouble is None else f"[red]no[/]  {what:<8} {found}", highlight=False
        )
        if trouble:
            console.print(f"             {trouble}", highlight=False)
    return well


def _python(_: Settings) -> str:
    if sys.version_info < _PYTHON:
        raise ServerError(f"Python {sys.version.split()[0]}", "Use Python 3.11 or newer")
    return sys.version.split()[0]


def _packages(_: Settings) -> str:
    """Versions with which no server starts, or no schedule ever fires, without a word of it."""
    from importlib.metadata import version

    from packaging.version import Version

    for name, first_wrong in _TOO_NEW.items():
        if Version(version(name)) >= Version(first_wrong):
            raise ServerError(f"{name} {version(name)} does not work with Prefect 3.8", f"pip install '{name}<{first_wrong}'")
    return ", ".join(f"{name} {version(name)}" for name in ("prefect", "transformers", "torch"))


def _home(settings: Settings) -> str:
    home = settings.folder("")
    free = shutil.disk_usage(home).free
    if free < _ROOM_BYTES:
        raise HomeError(f"{home}, {free / 1e9:.1f} GB free", "Free some space or set VOXFACTORY_HOME to another disk")
    return f"{home}, {free / 1e9:.0f} GB free"


def _processor(settings: Settings) -> str:
    import torch

    if not torch.cuda.is_available():
        return f"no GPU, {os.cpu_count()} processor cores: enough for voxfactory-tiny"
    described, gpus = torch.cuda.get_device_properties(0), torch.cuda.device_count()
    return f"{gpus} x {described.name}, {described.total_memory / 1e9:.0f} GB{_used(settings, gpus)}"


def _used(settings: Settings, gpus: int) -> str:
    """What to know where there are several GPUs and training takes one."""
    alone = settings.accelerate in (None, "gpu") and settings.training_processes in (None, 1)
    return "; training uses one of them: VOXFACTORY_ACCELERATE=ddp takes all" if gpus > 1 and alone else ""


def _prefect(settings: Settings) -> str:
    from deployments.server import answers

    if answers(settings.prefect_api_url.rstrip("/")):
        return f"answers at {settings.prefect_api_url}"
    return "none runs; each command starts one for its own time"


def _clock(settings: Settings) -> str:
    """What compares moments of two machines: schedules, heartbeats, signatures of links."""
    offsets = {name: offset for name, url in _others(settings).items() if (offset := _ahead_s(url)) is not None}
    if not offsets:
        return "nobody answers whose clock could be compared"
    name, worst_s = max(offsets.items(), key=lambda item: abs(item[1]))
    told = f"{abs(worst_s):.0f} s {'ahead of' if worst_s > 0 else 'behind'} {name}"
    if abs(worst_s) > _CLOCK_S:
        raise ServerError(told, "Let NTP set the clock: runs start late, and runs at work are taken for gone")
    return f"within {_CLOCK_S:.0f} s of {', '.join(offsets)}"


def _others(settings: Settings) -> dict[str, str]:
    hub = settings.hub_endpoint or ""
    others = {"the Prefect server": f"{settings.prefect_api_url.rstrip('/')}/health"}
    return others | ({hub: hub} if hub.startswith("http") else {})


def _ahead_s(url: str) -> float | None:
    """How much this machine's clock is ahead of that of whoever answers there."""
    import httpx

    try:
        told = httpx.head(url, timeout=3).headers.get("date")
    except httpx.HTTPError:
        return None
    return (datetime.now(UTC) - parsedate_to_datetime(told)).total_seconds() if told else None


def _ports(settings: Settings) -> str:
    """Where `voxfactory up` will listen."""
    wanted = {"VOXFACTORY_HUB_PORT": settings.hub_port, "VOXFACTORY_WEBHOOK_PORT": settings.webhook_port}
    if has_dashboard(settings):
        wanted["VOXFACTORY_TRACKIO_PORT"] = settings.trackio_port
    for name, port in wanted.items():
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0 and not _is_ours(port):
                raise ServerError(f"Port {port} is taken by another program", f"Set {name} to a free one")
    return ", ".join(f"{port}" for port in wanted.values())


def _is_ours(port: int) -> bool:
    """Whether a local Hub, a receiver of webhooks, or Trackio answers there."""
    import httpx

    try:
        pages = {path: httpx.get(f"http://127.0.0.1:{port}{path}", timeout=2) for path in ("/sign-in", "/health", "/")}
        return pages["/sign-in"].is_success or pages["/health"].is_success or "<title>Trackio" in pages["/"].text
    except httpx.HTTPError:
        return False


def _hub(settings: Settings) -> str:
    from infra.hub import check_right_to_write, connection

    with connection(settings) as hub:
        owner = check_right_to_write(hub, "any").partition("/")[0]
        reading = (
            "" if hub.local or settings.hub_read_token else "; what only reads uses the same token: VOXFACTORY_HUB_READ_TOKEN"
        )
        return f"{hub.name}, {owner} may write{reading}"


_LOOKS: dict[str, Callable[[Settings], str]] = {
    "python": _python,
    "packages": _packages,
    "home": _home,
    "device": _processor,
    "prefect": _prefect,
    "clock": _clock,
    "ports": _ports,
    "hub": _hub,
}
