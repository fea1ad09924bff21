"""The factory by itself: a commit to a dataset ends in a published model and a proven demo, and nobody touches anything."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.states import Cancelling

from deployments.credentials import webhook_secret
from deployments.webhook import SECRET_HEADER
from infra.processes import free_port
from infra.settings import Settings
from tests.builders.factories import DATASET, MODEL, Factory, running_factory, until
from tests.builders.postgres import postgres_programs, running_postgres
from tests.builders.speech import radio_corpus

TRAINING = {"options": {"method": "full", "epochs": 4, "batch_size": 8, "learning_rate": 7e-4, "checkpoint_steps": 4}}
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def factory(server: str, workplace: Path) -> Iterator[Factory]:
    with running_factory({"VOXFACTORY_GPU_POOL": "true"}, workplace / "home", server) as running:
        assert "VoxFactory runs" in "".join(running.shown)
        yield running


@pytest.fixture(scope="module")
def retrained(factory: Factory, workplace: Path) -> FlowRun:
    """A commit to the dataset, as its owner makes it, and the run that came of it."""
    factory.configure("retrain", training=TRAINING)
    factory.commit(radio_corpus(workplace / "source", clips=100))
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


def test_a_published_model_leads_back_to_the_speech_in_it(factory: Factory, retrained: FlowRun):
    """By the assets in Prefect's events."""
    wanted = {"filter": {"event": {"name": ["prefect.asset.materialization.succeeded"]}}}

    def parents() -> dict[str, list[str]]:
        listed = factory.prefect.request("POST", "/events/filter", json=wanted).json()["events"]
        return {
            event["resource"]["prefect.resource.id"]: [
                related["prefect.resource.id"] for related in event["related"] if related["prefect.resource.role"] == "asset"
            ]
            for event in listed
        }

    made_of = until(lambda: [known] if f"voxfactory://demo/{MODEL}" in (known := parents()) else [])[0]
    (model,) = made_of[f"voxfactory://demo/{MODEL}"]
    (run,) = made_of[model]
    checkpoint, dataset = sorted(made_of[run])
    (source,) = made_of[dataset]
    assert [made.split("/")[2] for made in (model, run, checkpoint, dataset, source)] == [
        "model",
        "run",
        "checkpoint",
        "dataset",
        "source",
    ]


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


def test_a_schedule_makes_a_run_and_a_worker_runs_it(factory: Factory, retrained: FlowRun):
    """`watch`, every ten seconds instead of minutes: it finds the revision that was told already."""
    watch = factory.prefect.read_deployment_by_name("watch/watch")
    soon = IntervalSchedule(interval=timedelta(seconds=10))
    (schedule,) = factory.prefect.create_deployment_schedules(watch.id, [(soon, True)])
    try:
        run = until(lambda: [run for run in factory.runs("watch") if run.state.is_completed()])[0]
    finally:
        factory.prefect.delete_deployment_schedule(watch.id, schedule.id)
    assert run.auto_scheduled
    assert run.created_by.type == "SCHEDULE"
    assert run.work_pool_name == "cpu"
    assert len(factory.runs("retrain")) == 1


def test_nothing_new_is_told_in_seconds(factory: Factory, retrained: FlowRun):
    """A change that changes no utterance starts a run, which sees that there is nothing to do."""
    factory.api.upload_file(path_or_fileobj=b"# Radio\n", path_in_repo="README.md", repo_id=DATASET, repo_type="dataset")
    _, again = factory.ended("retrain", 2)
    assert again.state.is_completed(), again.state.message
    assert again.total_run_time.total_seconds() < 60
    assert len(factory.runs("train")) == 1
    assert len(factory.api.list_repo_refs(MODEL).tags) == 1


def test_on_postgres_whatever_is_killed_the_same_model_comes_out(factory: Factory, retrained: FlowRun, workplace: Path):
    """Of a factory with a server of its own.

    Its run is cancelled, then killed, both while it trains; its worker is killed while it evaluates, the server while it publishes.
    """
    programs = postgres_programs()
    if programs is None:
        pytest.skip("no Postgres here")
    home, port = workplace / "home-on-postgres", free_port()
    with (
        running_postgres(programs) as url,
        running_factory({"VOXFACTORY_DATABASE_URL": url}, home, f"http://127.0.0.1:{port}/api") as other,
    ):
        other.configure("retrain", training=TRAINING)
        other.commit(workplace / "source")
        until(lambda: checkpoints(home))
        (run,) = other.runs("retrain")
        other.prefect.set_flow_run_state(run.id, Cancelling())  # Cancel, in the UI
        (run,) = other.ended("retrain")
        assert run.state.is_cancelled()
        assert not trainers(home)
        written = checkpoints(home)
        other.retry(run)
        until(lambda: [new for new in checkpoints(home) if new not in written])
        other.kill("prefect.engine")
        (run,) = other.ended("retrain")
        assert run.state.is_crashed(), "it was gone, and nobody says so"
        until(lambda: [] if trainers(home) else [True])  # it writes a checkpoint, and keeps no GPU
        assert not [*home.glob("runs/*/train_results.json")]
        other.retry(run)
        until(lambda: [*home.glob("runs/*/train_results.json")])
        other.kill("--pool", "gpu")
        (run,) = other.ended("retrain")
        assert run.state.is_crashed(), "its worker was gone, and nobody says so"
        other.retry(run)
        until(lambda: [*home.glob("published/*/staged.json")])
        other.kill("--port", str(port))
        (run,) = until(lambda: [run for run in other.runs("retrain") if run.state.is_completed()])
        assert len(other.api.list_repo_refs(MODEL).tags) == 1
        assert not (home / "prefect" / "prefect.db").exists()
    undisturbed, disturbed = (published_weights(where) for where in (factory.home, home))
    assert disturbed == undisturbed


def checkpoints(home: Path) -> list[Path]:
    """The complete ones of the one training of a home."""
    return [*home.glob("runs/*/checkpoint-*/complete")]


def trainers(home: Path) -> list[psutil.Process]:
    """The training processes of a home."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "tasks.training.process" in (line := process.info["cmdline"] or []) and str(home) in line[-1]
    ]


def published_weights(home: Path) -> bytes:
    """What the one publication of a home holds."""
    (weights,) = (home / "published").glob("*/repository/model.safetensors")
    return weights.read_bytes()
