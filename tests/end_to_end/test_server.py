"""The server that a command starts for itself, and what a server must do for deployments."""

import importlib
import inspect
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.request import urlopen

import pytest
import yaml
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.check_prefect_yaml import problems
from deployments.local import deploy_all
from deployments.pools import apply_pools
from infra.processes import free_port
from infra.settings import Settings
from tests.builders.processes import environment
from tests.builders.speech import REAL_SPEECH
from tests.end_to_end.conftest import Command

ROOT = Path(__file__).parents[2]


def test_a_command_without_a_server_starts_one_shows_it_and_stops_it(voxfactory: Command, workplace: Path):
    api = f"http://127.0.0.1:{free_port()}/api"
    done = voxfactory("ingest", REAL_SPEECH, "--language", "en", api=api, home=workplace / "own-home")
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"Prefect UI: {api.removesuffix('/api')}" in done.stderr
    assert (workplace / "own-home" / "prefect" / "prefect.db").is_file()
    with pytest.raises(OSError, match="refused"):
        urlopen(f"{api}/health", timeout=2)


def test_two_homes_that_begin_at_once_have_a_server_each(tmp_path: Path):
    """Unset, both would listen at the usual address; it is another one here, which may be taken."""
    port = free_port()
    script = f"""
import sys
from pathlib import Path
from deployments.server import prefect_server
from infra.settings import Settings
usual = Settings.model_construct(_fields_set=set(), home=Path(sys.argv[1]), prefect_api_url="http://127.0.0.1:{port}/api")
with prefect_server(usual) as ui:
    print(ui, flush=True)
    sys.stdin.read()
"""
    commands = [
        subprocess.Popen(
            [sys.executable, "-c", script, tmp_path / name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(tmp_path / name, ""),
        )
        for name in ("one", "two", "two")
    ]
    addresses = [command.stdout.readline().strip() for command in commands]
    homes = []
    for address in addresses:
        with urlopen(f"{address}/api/admin/settings", timeout=10) as response:
            homes.append(Path(json.load(response)["home"]).parent.name)
    assert homes == ["one", "two", "two"]
    assert addresses[1] == addresses[2] != addresses[0], "commands of one home share theirs"
    for command in commands:
        command.stdin.close()  # whose server it is ends last
    assert [command.wait(60) for command in commands] == [0, 0, 0]


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


@pytest.fixture(scope="module")
def deployed(server: str) -> Iterator[SyncPrefectClient]:
    with (
        pytest.MonkeyPatch.context() as patch,
        temporary_settings({PREFECT_API_URL: server}),
        get_client(sync_client=True) as client,
    ):
        patch.setenv("PREFECT_API_URL", server)
        apply_pools("process")
        deploy_all(Settings(schedules=True))
        yield client


def test_every_deployment_is_accepted_by_a_real_server_with_a_form(deployed: SyncPrefectClient):
    written = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    for one in written:
        _, _, flow = one["entrypoint"].rpartition(".")
        function = getattr(importlib.import_module(one["entrypoint"].rpartition(".")[0]), flow)
        found = deployed.read_deployment_by_name(f"{function.name}/{one['name']}")
        form = found.parameter_openapi_schema["properties"]
        assert set(form) == set(inspect.signature(function.fn).parameters), one["name"]
        assert found.description
        assert found.version
    watch = deployed.read_deployment_by_name("watch/watch")
    assert {schedule.slug: schedule.active for schedule in watch.schedules} == {"every-15-minutes": True, "mondays": True}


def test_parameters_that_do_not_fit_are_refused_in_words(deployed: SyncPrefectClient):
    wrong = {"source": {"path": "/speech"}, "training": {"options": {"epochs": 0}}}
    factory = deployed.read_deployment_by_name("factory/factory")
    with pytest.raises(PrefectHTTPStatusError) as refused:
        deployed.create_flow_run_from_deployment(factory.id, parameters=wrong)
    assert "training.options.epochs" in str(refused.value)
    assert "minimum of 1" in str(refused.value)


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
        ("{guards: [], batch_size: 32}", "{batch_size: many}", "the flow cannot take batch_size='many'"),
        ("interval: 900", "intervall: 900", "schedules[0]"),
        ("slug: mondays", "timezone: UTC", "has no slug"),
        ("parameters: {retrain: true}", "parameters: {again: true}", "the flow has no parameter 'again'"),
        ("    schedules:", "    scheduels:", "'scheduels' is no key"),
        ("    schedules:", "    triggers: [{posture: Metric}]\n    schedules:", "metric triggers are of Prefect Cloud"),
        ("    schedules:", "    triggers: [{expct: [x]}]\n    schedules:", "'expct' is no key"),
        ("    schedules:", "    triggers: [{expect: [x], parameters: {a: 1}}]\n    schedules:", "no parameter 'a'"),
        ("limit: 1", "limit: many", "concurrency_limit"),
    ],
)
def test_mistakes_that_prefect_ignores_are_found(tmp_path: Path, written: str, instead: str, problem: str):
    text = (ROOT / "prefect.yaml").read_text()
    assert written in text
    (tmp_path / "prefect.yaml").write_text(text.replace(written, instead, 1))
    assert any(problem in line for line in problems(tmp_path / "prefect.yaml"))
