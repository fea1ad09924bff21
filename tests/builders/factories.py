"""`voxfactory up` for tests and benchmarks: a whole factory that watches a dataset of its local Hub."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from huggingface_hub import HfApi
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.states import Scheduled

from deployments.credentials import known_prefect_auth
from infra.hub import open_local_hub
from infra.processes import free_port
from infra.settings import Settings
from tests.builders.hubs import clients_for
from tests.builders.processes import environment, hear_interrupts

DATASET, MODEL = "local/radio", "local/voxtral-radio"
_LONGEST_S = 500.0
_STOP_S = 60.0
_POLL_S = 0.5


@dataclass(frozen=True)
class Factory:
    """`voxfactory up`, watching a dataset of its local Hub; what it printed until it was ready is in `shown`."""

    home: Path
    hub: str
    webhook: str
    prefect: SyncPrefectClient
    api: HfApi
    process: "subprocess.Popen[str]"
    shown: list[str] = field(default_factory=list)

    def runs(self, deployment: str) -> list[FlowRun]:
        """Every run of a deployment, the oldest first."""
        found = self.prefect.read_deployment_by_name(f"{deployment}/{deployment}")
        only = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[found.id]))
        return sorted(self.prefect.read_flow_runs(flow_run_filter=only), key=lambda run: str(run.created))

    def ended(self, deployment: str, count: int = 1) -> list[FlowRun]:
        """The runs of a deployment, once so many have ended."""
        return until(lambda: [run for run in self.runs(deployment) if run.state and run.state.is_final()], count)

    def configure(self, deployment: str, **parameters: Any) -> None:
        """Change parameters of a deployment, as one does in the UI."""
        found = self.prefect.read_deployment_by_name(f"{deployment}/{deployment}")
        self.prefect.update_deployment(found.id, DeploymentUpdate(parameters=found.parameters | parameters))

    def commit(self, source: Path) -> None:
        """Put a folder of speech into the dataset, as its owner does."""
        self.api.create_repo(DATASET, repo_type="dataset", private=True, exist_ok=True)
        self.api.upload_folder(repo_id=DATASET, folder_path=source, repo_type="dataset")

    def retry(self, run: FlowRun) -> None:
        """Let a run that ended be run again, as the Prefect UI does; until it runs, since a worker may tell of its end once more."""

        def running() -> list[FlowRun]:
            found = self.prefect.read_flow_run(run.id)
            if found.state and found.state.is_final():
                self.prefect.set_flow_run_state(run.id, Scheduled(), force=True)
            return [found] if found.state and found.state.is_running() else []

        until(running)

    def kill(self, *words: str) -> None:
        """SIGKILL for the process of the factory whose command line ends so."""
        (found,) = [
            child
            for child in psutil.Process(self.process.pid).children(recursive=True)
            if child.cmdline()[-len(words) :] == list(words)
        ]
        os.kill(found.pid, signal.SIGKILL)


def until(look: Callable[[], list[Any]], count: int = 1, poll_s: float = _POLL_S) -> list[Any]:
    """What there is, once there is so much."""
    deadline = time.monotonic() + _LONGEST_S
    while len(found := look()) < count:
        assert time.monotonic() < deadline, f"only {len(found)} of {count}"
        time.sleep(poll_s)
    return found


@contextmanager
def running_factory(variables: Mapping[str, str], home: Path, api: str) -> Iterator[Factory]:
    """Start it with these variables besides, a server at `api` or one of its own there; stopped as by Ctrl-C."""
    hub_port, webhook_port = free_port(), free_port()
    ours = {
        "VOXFACTORY_WATCH": f'[{{"repository": "{DATASET}", "language": "en"}}]',
        "VOXFACTORY_SETTLE_S": "0",
        "VOXFACTORY_HUB_PORT": str(hub_port),
        "VOXFACTORY_WEBHOOK_PORT": str(webhook_port),
        "VOXFACTORY_TRACKIO_PORT": str(free_port()),
    }
    up = subprocess.Popen(
        [sys.executable, "-m", "deployments.cli", "up"],
        env=environment(home, api) | ours | dict(variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=hear_interrupts,
    )
    try:
        shown = _status_page(up)
        assert up.poll() is None, "".join(shown)
        hub, token = f"http://127.0.0.1:{hub_port}", open_local_hub(Settings(home=home)).accounts.add_token("local")
        auth = known_prefect_auth(Settings(home=home))
        reached = {PREFECT_API_URL: api} | ({PREFECT_API_AUTH_STRING: auth.get_secret_value()} if auth else {})
        with temporary_settings(reached), get_client(sync_client=True) as client, clients_for(hub):
            yield Factory(home, hub, f"http://127.0.0.1:{webhook_port}", client, HfApi(endpoint=hub, token=token), up, shown)
    finally:
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=_STOP_S)
    assert up.returncode == 128 + signal.SIGINT


def _status_page(up: "subprocess.Popen[str]") -> list[str]:
    """What it prints until its table ends."""
    lines = []
    for line in up.stdout or ():
        lines.append(line)
        if line.startswith("└"):
            break
    return lines
