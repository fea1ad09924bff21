"""The server that a command starts for itself, and what a server must do for deployments."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from urllib.request import urlopen

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.check_prefect_yaml import problems
from infra.processes import free_port
from tests.builders.speech import REAL_SPEECH, digit_corpus
from tests.end_to_end.conftest import Command, environment, hear_interrupts

ROOT = Path(__file__).parents[2]


def test_a_command_without_a_server_starts_one_shows_it_and_stops_it(voxfactory: Command, workplace: Path):
    api = f"http://127.0.0.1:{free_port()}/api"
    done = voxfactory("ingest", REAL_SPEECH, "--language", "en", api=api, home=workplace / "own-home")
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"Prefect UI: {api.removesuffix('/api')}" in done.stderr
    assert (workplace / "own-home" / "prefect" / "prefect.db").is_file()
    with pytest.raises(OSError, match="refused"):
        urlopen(f"{api}/health", timeout=2)


def test_schedules_produce_runs(server: str):
    """With SQLAlchemy 2.1 the server looks healthy and never creates a scheduled run."""

    @flow(name="scheduled")
    def scheduled() -> None:
        pass

    with temporary_settings({PREFECT_API_URL: server}), get_client(sync_client=True) as client:
        schedule = DeploymentScheduleCreate(schedule=IntervalSchedule(interval=timedelta(hours=1)), active=True)
        deployment = client.create_deployment(client.create_flow(scheduled), "hourly", schedules=[schedule])
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            runs = [run for run in client.read_flow_runs() if run.deployment_id == deployment]
            if runs:
                break
            time.sleep(0.5)
    assert runs
    assert all(run.auto_scheduled for run in runs)


def test_every_deployment_is_accepted_by_a_real_server_with_a_form(server: str, workplace: Path):
    variables = environment(workplace / "home", server) | {"PREFECT_API_URL": server, "VOXFACTORY_ROOT": str(ROOT)}
    prefect = [sys.executable, "-m", "prefect", "--no-prompt"]
    for command in (["work-pool", "create", "gpu", "--type", "process", "--overwrite"], ["deploy", "--all"]):
        done = subprocess.run(
            [*prefect, *command], cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    with temporary_settings({PREFECT_API_URL: server}), get_client(sync_client=True) as client:
        deployed = client.read_deployment_by_name("factory/factory")
    assert deployed.entrypoint == "flows.factory.factory"
    assert set(deployed.parameter_openapi_schema["properties"]) == {"source", "training", "gate", "publication"}


@pytest.mark.fast
def test_prefect_yaml_has_no_problem():
    assert problems(ROOT / "prefect.yaml") == []


@pytest.mark.fast
@pytest.mark.parametrize(
    ("written", "instead", "problem"),
    [
        ("concurrency_limit:", "concurency_limit:", "'concurency_limit' is no key"),
        ("work_queue_name:", "work_queue:", "'work_queue' is no key"),
        ("flows.factory.factory", "flows/factory.py:factory", "is not a module path"),
        ("flows.factory.factory", "flows.factory.nothing", "cannot be imported"),
        ("flows.factory.factory", "flows.params.Gate", "is no flow"),
        ("parameters: {}", "parameters: {sauce: 1}", "the flow has no parameter 'sauce'"),
        ("limit: 1", "limit: many", "concurrency_limit"),
    ],
)
def test_mistakes_that_prefect_ignores_are_found(tmp_path: Path, written: str, instead: str, problem: str):
    text = (ROOT / "prefect.yaml").read_text()
    assert written in text
    (tmp_path / "prefect.yaml").write_text(text.replace(written, instead, 1))
    assert any(problem in line for line in problems(tmp_path / "prefect.yaml"))


def test_the_local_factory_runs_a_deployment_as_the_ui_would(server: str, workplace: Path):
    source = digit_corpus(workplace / "digits", clips=30)
    home = workplace / "local-home"
    variables = environment(home, server)
    up = subprocess.Popen(
        [sys.executable, "-m", "deployments.cli", "up"],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=hear_interrupts,
    )
    try:
        shown = next((line for line in up.stdout or () if "The factory runs" in line), "")
        assert server.removesuffix("/api") in shown
        with temporary_settings({PREFECT_API_URL: server}), get_client(sync_client=True) as client:
            deployment = client.read_deployment_by_name("factory/factory")
            parameters = {
                "source": {"path": str(source), "name": "digits", "options": {"language": "de"}},
                "training": {"options": {"max_steps": 2, "learning_rate": 1e-9}},
                "gate": {},
                "publication": {},
            }
            run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
            deadline = time.monotonic() + 180
            while time.monotonic() < deadline:
                state = client.read_flow_run(run.id).state
                if state and state.is_final():
                    break
                time.sleep(1)
        assert state
        assert state.is_completed(), state.message
        assert list((home / "evaluations").glob("*/report.json"))
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)
