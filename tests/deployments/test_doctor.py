import re
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from deployments.doctor import examine, print_findings
from infra.processes import free_port
from infra.settings import Settings

pytestmark = pytest.mark.fast


@pytest.fixture(autouse=True)
def nobody_is_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))


def test_a_fresh_machine_is_well_and_publishes_to_its_own_hub(home: Path):
    settings = Settings(home=home, hub_port=free_port(), webhook_port=free_port())
    found = {finding.what: finding for finding in examine(settings)}
    assert found.keys() == {"python", "packages", "home", "device", "prefect", "clock", "ports", "hub"}
    assert found["hub"].found == "the local Hub, local may write"
    assert found["hub"].trouble is None


def test_trouble_comes_with_what_to_do_and_does_not_hide_the_rest(home: Path):
    console = Console(record=True, width=200)
    assert not print_findings(Settings(home=home, hub_endpoint="http://127.0.0.1:9"), console)
    written = console.export_text()
    assert "no  hub" in written
    assert "Set VOXFACTORY_HUB_TOKEN" in written
    assert "ok  python" in written


def test_a_port_that_another_program_has_is_told(home: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = {finding.what: finding for finding in examine(Settings(home=home, hub_port=port, webhook_port=free_port()))}
    assert found["ports"].trouble == "Set VOXFACTORY_HUB_PORT to a free one"


def test_a_clock_that_is_wrong_is_told(home: Path):
    class Yesterday(BaseHTTPRequestHandler):
        def date_time_string(self, timestamp: float | None = None) -> str:
            return format_datetime(datetime.now(UTC) - timedelta(hours=24), usegmt=True)

        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Yesterday) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/api"
        found = {finding.what: finding for finding in examine(Settings(home=home, prefect_api_url=url))}
        server.shutdown()
    assert re.fullmatch(r"864\d\d s ahead of the Prefect server", found["clock"].found)
    assert "NTP" in (found["clock"].trouble or "")


def test_a_package_with_which_no_schedule_fires_is_told(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("deployments.doctor._TOO_NEW", {"sqlalchemy": "2.0"})
    found = {finding.what: finding for finding in examine(Settings(home=home))}
    assert found["packages"].trouble == "pip install 'sqlalchemy<2.0'"


@pytest.mark.parametrize(
    ("gpus", "chosen", "told"),
    [(1, {}, False), (4, {}, True), (4, {"accelerate": "gpu"}, True), (4, {"accelerate": "ddp"}, False)],
)
def test_gpus_that_training_leaves_idle_are_told(
    home: Path, monkeypatch: pytest.MonkeyPatch, gpus: int, chosen: dict[str, str], told: bool
):
    described = SimpleNamespace(name="GPU", total_memory=80 * 10**9)
    for name, answer in (("is_available", True), ("device_count", gpus), ("get_device_properties", described)):
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    settings = Settings(home=home, hub_port=free_port(), webhook_port=free_port(), **chosen)
    found = {finding.what: finding for finding in examine(settings)}["device"]
    assert ("VOXFACTORY_ACCELERATE=ddp takes all" in found.found, found.trouble) == (told, None)
