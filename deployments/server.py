"""A real Prefect server for as long as a command runs, when none answers at the configured address.

A server that a command of another home started is none of ours, unless its address was set: it ends with that command. The database
and results lie under VOXFACTORY_HOME, so that the history of all commands stays together. Prefect's ephemeral mode is not used: it loses
task runs. Prefect is imported late here: its settings are read at import, so they must stand before.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from deployments.credentials import known_prefect_auth
from infra.errors import ServerError
from infra.processes import free_port, last_lines, start, stop
from infra.settings import Settings
from infra.storage import exclusive, shared, write_text

_START_S = 120
_GRACE_S = 10
_POLL_S = 0.2
_ANSWER_S = 2
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ServerPlace(NamedTuple):
    """Where a server of ours is to listen, and what starts it there."""

    api_url: str
    command: list[str]

    @property
    def ui(self) -> str:
        """Address of the Prefect UI."""
        return ui_of(self.api_url)


@contextmanager
def prefect_server(settings: Settings) -> Iterator[str]:
    """Yield the address of the Prefect UI; starts a server if none answers, and stops it afterwards.

    Prefect is imported while the server starts, since both take seconds.

    Raises:
        ServerError: a server elsewhere was configured and does not answer, or a local one does not start.

    """
    with ExitStack() as ending:
        if place_for_server(settings):
            with starting_alone():
                place = place_for_server(settings)  # who started before us may have taken the port, or be of this home
                if place:
                    ending.enter_context(_started(settings, place))
        else:
            place = None
        if not place:
            ending.enter_context(users_of_server(settings))
        yield ui_of(os.environ["PREFECT_API_URL"])


@contextmanager
def _started(settings: Settings, place: ServerPlace) -> Iterator[None]:
    log_path = settings.folder("prefect") / "server.log"
    with log_path.open("wb") as log:
        process = start(place.command, {}, log)
        try:
            import flows.factory  # noqa: F401 - the heaviest imports, while the server starts

            wait_for_server(place, process, log_path)
            write_text(_own_address(settings), place.api_url)
            yield
            with exclusive(_users(settings)):  # other commands that found this server may finish
                pass
        finally:
            _own_address(settings).unlink(missing_ok=True)
            _send_what_is_left()
            stop(process, _GRACE_S)


def starting_alone() -> AbstractContextManager[None]:
    """One command of ours at a time on this machine: two that start would take the same port, and each the other's server for its own."""
    return exclusive(Path(tempfile.gettempdir()) / f"voxfactory-{os.getuid()}-starts.lock")


def place_for_server(settings: Settings, host: str = "127.0.0.1") -> ServerPlace | None:
    """Where to start a server, or None if there is one for us; Prefect in this process speaks to it from here on.

    Raises:
        ServerError: a server elsewhere was configured and does not answer.

    """
    api_url = settings.prefect_api_url.rstrip("/")
    own = _own_address(settings)
    for known in (api_url, *([own.read_text()] if own.is_file() else [])):
        if answers(known) and not _is_of_another_home(settings, known):
            _configure(settings, known)
            return None
    address = urlsplit(api_url)
    if address.hostname not in _LOOPBACK:
        raise ServerError(f"No Prefect server answers at {api_url}", "Start it, or unset VOXFACTORY_PREFECT_API_URL")
    port = address.port if address.port and _is_free(address.port) else free_port()
    api_url = f"http://127.0.0.1:{port}/api"
    _configure(settings, api_url)
    return ServerPlace(api_url, [sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", str(port)])


def wait_for_server(place: ServerPlace, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Return when it answers.

    Raises:
        ServerError: it ends instead, or takes too long; with what it said.

    """
    deadline = time.monotonic() + _START_S
    while not answers(place.api_url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise ServerError(f"The Prefect server did not start:\n{last_lines(log)}\n", f"Read {log}")
        time.sleep(_POLL_S)


def users_of_server(settings: Settings) -> AbstractContextManager[None]:
    """Whoever uses a server that another command started: that one waits for us before it stops it."""
    return shared(_users(settings))


def _users(settings: Settings) -> Path:
    return settings.folder("prefect") / "server-users.lock"


def _send_what_is_left() -> None:
    """Logs and events that Prefect still holds in this process: without a server it would try to send them for minutes."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=_GRACE_S)


def configure(settings: Settings) -> None:
    """Let Prefect, which reads its settings when it is imported, speak to the configured server from this process and its children."""
    _configure(settings, settings.prefect_api_url.rstrip("/"))


def _configure(settings: Settings, api_url: str) -> None:
    prefect_home = settings.folder("prefect")
    os.environ.update(
        {
            "PREFECT_API_URL": api_url,
            "PREFECT_HOME": str(prefect_home),
            "PREFECT_LOCAL_STORAGE_PATH": str(prefect_home.parent),  # results lie inside the artefacts: tasks/caching.py
            "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_TASKS_DEFAULT_NO_CACHE": "true",
            "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
            "PREFECT_CLI_PROMPT": "false",
            "DO_NOT_TRACK": "1",
        }
    )
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO")
    auth = known_prefect_auth(settings)
    if auth:
        os.environ["PREFECT_API_AUTH_STRING"] = auth.get_secret_value()


def _own_address(settings: Settings) -> Path:
    """Where the server listens that a command of this home started."""
    return settings.folder("prefect") / "server.url"


def _is_of_another_home(settings: Settings, api_url: str) -> bool:
    """Whether a command or `voxfactory up` of another home started it. Who sets an address means the server there, whosoever it is."""
    if "prefect_api_url" in settings.model_fields_set:
        return False
    auth = known_prefect_auth(settings)
    request = Request(f"{api_url}/admin/settings")  # noqa: S310 - the scheme is the user's own setting
    if auth:
        request.add_header("Authorization", f"Basic {b64encode(auth.get_secret_value().encode()).decode()}")
    try:
        with urlopen(request, timeout=_ANSWER_S) as response:  # noqa: S310
            told = json.load(response)
    except HTTPError as error:
        return error.code == HTTPStatus.UNAUTHORIZED  # its password lies in its home
    home = Path(told["home"])
    return Path(told["results"]["local_storage_path"]) == home.parent and home != settings.folder("prefect")


def answers(api_url: str) -> bool:
    """Whether a Prefect server answers at an API address."""
    try:
        with urlopen(f"{api_url}/health", timeout=_ANSWER_S) as response:  # noqa: S310 - the scheme is the user's own setting
            return response.status == 200 and response.read() == b"true"
    except (OSError, HTTPException, ValueError):  # nothing there, something else there, or no address
        return False


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def ui_of(api_url: str) -> str:
    """The address of the Prefect UI, from that of its API."""
    return api_url.rstrip("/").removesuffix("/api")
