"""One real Prefect server for all end-to-end tests, and the real command line in processes of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deployments.server import prefect_server
from infra.processes import free_port
from infra.settings import Settings
from tests.builders.processes import environment

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def server_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server keeps its database."""
    return tmp_path_factory.mktemp("server-home")


@pytest.fixture(scope="session")
def server(server_home: Path) -> Iterator[str]:
    """Address of a server's API."""
    kept = dict(os.environ)
    with prefect_server(Settings(home=server_home, prefect_api_url=f"http://127.0.0.1:{free_port()}/api")) as ui:
        yield f"{ui}/api"
    os.environ.clear()
    os.environ.update(kept)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the sources and the home of one test module."""
    return tmp_path_factory.mktemp("workplace")


@pytest.fixture(scope="module")
def voxfactory(workplace: Path, server: str) -> Command:
    """Runs the command; `home` and `api` override where, `variables` are further ones of the environment."""

    def call(
        *arguments: object, home: Path | None = None, api: str | None = None, variables: dict[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "deployments.cli", *map(str, arguments)],
            env=environment(home or workplace / "home", api or server) | (variables or {}),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return call
