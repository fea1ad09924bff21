"""Automations as code are there once, follow the settings, and leave alone what a person made or paused."""

from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from threading import Thread
from typing import Any

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SlackWebhook
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.actions import DoNothing
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.automations import apply_automations
from deployments.local import deploy_all
from deployments.pools import apply_pools
from infra.errors import SettingsError, StageError
from infra.settings import Settings, Watched
from tasks.events import model_rejected

RETRAIN, CRASHED = "Retrain on anna/radio", "Mark runs that are gone as crashed"


@pytest.fixture(scope="module")
def prefect(server: str) -> Iterator[SyncPrefectClient]:
    with (
        pytest.MonkeyPatch.context() as patch,
        temporary_settings({PREFECT_API_URL: server}),
        get_client(sync_client=True) as client,
    ):
        patch.setenv("PREFECT_API_URL", server)
        yield client


@pytest.fixture(scope="module")
def deployed(prefect: SyncPrefectClient) -> SyncPrefectClient:
    apply_pools("process")
    deploy_all(Settings())
    return prefect


def watching(**settings: Any) -> Settings:
    return Settings(watch=(Watched(repository="anna/radio", language="en", model="anna/hears-radio"),), **settings)


def named(client: SyncPrefectClient, name: str) -> list[Any]:
    return client.read_automations_by_name(name)


def test_what_is_watched_is_retrained_on_and_applied_twice_it_is_there_once(deployed: SyncPrefectClient):
    never = EventTrigger(expect={"never"}, posture=Posture.Reactive, threshold=1, within=timedelta(0))
    deployed.create_automation(AutomationCore(name="mine", trigger=never, actions=[DoNothing()]))
    assert apply_automations(watching()) == {RETRAIN: "created", CRASHED: "created"}
    assert apply_automations(watching()) == {RETRAIN: "unchanged", CRASHED: "unchanged"}
    (retrain,) = named(deployed, RETRAIN)
    action = retrain.actions[0]
    assert action.parameters["source"] == {"repository": "anna/radio", "name": "radio", "options": {"language": "en"}}
    assert action.parameters["publication"]["name"] == "anna/hears-radio"
    assert (retrain.trigger.posture, retrain.trigger.within) == (Posture.Proactive, timedelta(seconds=60))
    assert apply_automations(watching(settle_s=0)) == {RETRAIN: "changed", CRASHED: "unchanged"}
    assert named(deployed, RETRAIN)[0].trigger.posture is Posture.Reactive
    assert apply_automations(Settings()) == {CRASHED: "unchanged", RETRAIN: "removed"}
    assert len(named(deployed, "mine")) == 1


def test_what_was_paused_in_the_ui_stays_paused(deployed: SyncPrefectClient):
    apply_automations(watching())
    deployed.pause_automation(named(deployed, RETRAIN)[0].id)
    assert apply_automations(watching(settle_s=120))[RETRAIN] == "changed"
    assert named(deployed, RETRAIN)[0].enabled is False


def test_a_notification_block_is_told(deployed: SyncPrefectClient):
    SlackWebhook(url="https://hooks.slack.com/services/a/b/c").save("team", overwrite=True)
    apply_automations(watching(notification_block="slack-webhook/team"))
    (tell,) = named(deployed, "Tell what happened")
    assert {"prefect.flow-run.Crashed", "voxfactory.model.rejected"} <= tell.trigger.expect
    with pytest.raises(SettingsError, match=r"no such block.*Blocks"):
        apply_automations(watching(notification_block="slack-webhook/nobody"))


def test_a_refused_model_reaches_whoever_is_to_be_told(deployed: SyncPrefectClient):
    heard: Queue[str] = Queue()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as receiver:
        Thread(target=receiver.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{receiver.server_port}/"
        CustomWebhookNotificationBlock(name="desk", url=url, json_data={"text": "{{subject}}: {{body}}"}).save(
            "desk", overwrite=True
        )
        apply_automations(watching(notification_block="custom-webhook/desk"))
        model_rejected("radio", ("WER on radio rose by 3 points",), {})
        told = heard.get(timeout=60)
        receiver.shutdown()
    assert "voxfactory.model.rejected" in told
    assert "WER on radio rose by 3 points" in told


def test_a_silence_that_prefect_cannot_wait_for_is_refused(deployed: SyncPrefectClient):
    with pytest.raises(SettingsError, match=r"VOXFACTORY_SETTLE_S=5.*Set it to 0, or to 10 or more"):
        apply_automations(watching(settle_s=5))


def test_without_the_deployment_it_says_so(prefect: SyncPrefectClient):
    for deployment in prefect.read_deployments():
        prefect.delete_deployment(deployment.id)
    with pytest.raises(StageError, match=r"no deployment retrain/retrain.*deploy --all"):
        apply_automations(watching())
