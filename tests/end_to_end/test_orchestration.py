"""The factory by itself: a commit to a dataset ends in a published model and a proven demo, and nobody touches anything."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub import HfApi
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.credentials import webhook_secret
from deployments.webhook import SECRET_HEADER
from infra.hub import open_local_hub
from infra.processes import free_port
from infra.settings import Settings
from tests.builders.hubs import clients_for
from tests.builders.speech import radio_corpus
from tests.end_to_end.conftest import environment, hear_interrupts

DATASET, MODEL = "local/radio", "local/voxtral-radio"
TRAINING = {"options": {"method": "full", "epochs": 4, "batch_size": 8, "learning_rate": 7e-4}}
_LONGEST_S = 500
pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Factory:
    """`voxfactory up`, watching a dataset of its local Hub."""

    home: Path
    hub: str
    webhook: str
    prefect: SyncPrefectClient
    api: HfApi

    def runs(self, deployment: str) -> list[FlowRun]:
        """Every run of a deployment, the oldest first."""
        found = self.prefect.read_deployment_by_name(f"{deployment}/{deployment}")
        only = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[found.id]))
        return sorted(self.prefect.read_flow_runs(flow_run_filter=only), key=lambda run: str(run.created))

    def ended(self, deployment: str, count: int = 1) -> list[FlowRun]:
        """The runs of a deployment, once so many have ended."""
        return until(lambda: [run for run in self.runs(deployment) if run.state and run.state.is_final()], count)


def until(look: Callable[[], list[Any]], count: int) -> list[Any]:
    """What there is, once there is so much."""
    deadline = time.monotonic() + _LONGEST_S
    while len(found := look()) < count:
        assert time.monotonic() < deadline, f"only {len(found)} of {count}"
        time.sleep(0.5)
    return found


@pytest.fixture(scope="module")
def factory(server: str, workplace: Path) -> Iterator[Factory]:
    home, hub_port, webhook_port = workplace / "home", free_port(), free_port()
    variables = environment(home, server) | {
        "VOXFACTORY_WATCH": f'[{{"repository": "{DATASET}", "language": "en"}}]',
        "VOXFACTORY_SETTLE_S": "0",
        "VOXFACTORY_GPU_POOL": "true",
        "VOXFACTORY_HUB_PORT": str(hub_port),
        "VOXFACTORY_WEBHOOK_PORT": str(webhook_port),
    }
    up = subprocess.Popen(
        [sys.executable, "-m", "deployments.cli", "up"],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=hear_interrupts,
    )
    try:
        shown = "".join(iter(up.stdout.readline, "")) if up.poll() is not None else _status_page(up)
        assert "VoxFactory runs" in shown
        hub = f"http://127.0.0.1:{hub_port}"
        token = open_local_hub(Settings(home=home)).accounts.add_token("local")
        with temporary_settings({PREFECT_API_URL: server}), get_client(sync_client=True) as client, clients_for(hub):
            yield Factory(home, hub, f"http://127.0.0.1:{webhook_port}", client, HfApi(endpoint=hub, token=token))
    finally:
        up.send_signal(signal.SIGINT)
        assert up.wait(60) == 130


def _status_page(up: "subprocess.Popen[str]") -> str:
    """What it prints until its table ends."""
    lines = []
    for line in up.stdout or ():
        lines.append(line)
        if line.startswith("└"):
            break
    return "".join(lines)


@pytest.fixture(scope="module")
def retrained(factory: Factory, workplace: Path) -> FlowRun:
    """A commit to the dataset, as its owner makes it, and the run that came of it."""
    deployment = factory.prefect.read_deployment_by_name("retrain/retrain")
    parameters = deployment.parameters | {"training": TRAINING}
    factory.prefect.update_deployment(deployment.id, DeploymentUpdate(parameters=parameters))
    source = radio_corpus(workplace / "source", clips=100)
    factory.api.create_repo(DATASET, repo_type="dataset", private=True)
    factory.api.upload_folder(repo_id=DATASET, folder_path=source, repo_type="dataset")
    (run,) = factory.ended("retrain")
    return run


def test_a_commit_to_a_dataset_becomes_a_published_model(factory: Factory, retrained: FlowRun):
    assert retrained.state
    assert retrained.state.is_completed(), retrained.state.message
    assert (retrained.created_by.type, retrained.created_by.display_value) == ("AUTOMATION", f"Retrain on {DATASET}")
    model = factory.api.model_info(MODEL)
    assert model.private
    assert len(factory.api.list_repo_refs(MODEL).tags) == 1
    assert list((factory.home / "spaces").glob("*/.result-*.json")), "its demo was proven"


def test_what_needs_a_gpu_went_to_its_pool_and_is_linked(factory: Factory, retrained: FlowRun):
    for stage in ("train", "evaluate"):
        (run,) = factory.ended(stage)
        assert (run.work_pool_name, run.state.is_completed()) == ("gpu", True)
        assert run.parent_task_run_id, "the UI shows it under the run that sent it"
    assert retrained.work_pool_name == "cpu"


def test_events_tell_what_happened(factory: Factory, retrained: FlowRun):
    wanted = {"filter": {"event": {"prefix": ["voxfactory."]}}}

    def ours() -> list[Any]:
        listed = factory.prefect.request("POST", "/events/filter", json=wanted).json()["events"]
        return [event for event in listed if MODEL in str(event) or DATASET in str(event)]

    happened = {event["event"]: event for event in until(ours, 3)}  # the server lists an event a moment after it was told
    assert set(happened) == {"voxfactory.dataset.updated", "voxfactory.model.published", "voxfactory.space.deployed"}
    published = happened["voxfactory.model.published"]["payload"]
    assert published["wer_tuned"] < published["wer_base"]


def test_the_same_revision_starts_nothing_however_often_it_is_told(factory: Factory, retrained: FlowRun):
    sha = factory.api.dataset_info(DATASET).sha
    delivery = {
        "event": {"action": "update", "scope": "repo.content"},
        "repo": {"type": "dataset", "name": DATASET},
        "updatedRefs": [{"ref": "refs/heads/main", "oldSha": "0" * 40, "newSha": sha}],
    }
    secret = webhook_secret(Settings(home=factory.home)).get_secret_value()

    def send(_: int) -> dict[str, Any]:
        return httpx.post(factory.webhook, json=delivery, headers={SECRET_HEADER: secret}, timeout=60).raise_for_status().json()

    with ThreadPoolExecutor(10) as senders:
        answers = list(senders.map(send, range(50)))
    assert {answer["new"] for answer in answers} == {False}
    assert len(factory.runs("retrain")) == 1


def test_nothing_new_is_told_in_seconds(factory: Factory, retrained: FlowRun):
    """A change that changes no utterance starts a run, which sees that there is nothing to do."""
    factory.api.upload_file(path_or_fileobj=b"# Radio\n", path_in_repo="README.md", repo_id=DATASET, repo_type="dataset")
    _, again = factory.ended("retrain", 2)
    assert again.state.is_completed(), again.state.message
    assert again.total_run_time.total_seconds() < 60
    assert len(factory.runs("train")) == 1
    assert len(factory.api.list_repo_refs(MODEL).tags) == 1
