"""Automations as code: what the Prefect server does by itself. Put there again, they are changed and never doubled.

- retrain, one for each watched dataset: when it was updated and has been quiet for a while.
- crashed: a run that has not been heard of for five minutes is marked, so that its slot is free and it can be retried.
- tell, if there is a notification block: runs that failed or crashed, models that were published or refused.
"""

from datetime import timedelta
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, RunDeployment, SendNotification
from prefect.events.schemas.automations import Automation as StoredAutomation
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

from flows.dispatch import retraining_deployment, retraining_parameters
from infra.errors import SettingsError
from infra.settings import Settings, Watched
from tasks.events import Happened

_SHORTEST_SILENCE_S = 10.0  # of a proactive trigger
_SILENCE_S = 300  # after which a run is gone: five heartbeats as pyproject.toml sets them, more than one by Prefect's default
_MARK = "voxfactory"  # in each description: ours, to be removed when it is no longer wanted


def apply_automations(settings: Settings) -> dict[str, str]:
    """Let exactly these be there; what happened to each: created, changed, unchanged, removed.

    Raises:
        StageError: the retrain deployment is not there.
        SettingsError: there is no such notification block, or `settle_s` is too short.

    """
    with get_client(sync_client=True) as client:
        wanted = {one.name: one for one in _wanted(client, settings)}
        there = {one.name: one for one in _all(client) if (one.description or "").startswith(_MARK)}
        done = {name: _apply(client, one, there.get(name)) for name, one in wanted.items()}
        for name, one in there.items():
            if name not in wanted:
                client.delete_automation(one.id)
                done[name] = "removed"
    return done


def _all(client: SyncPrefectClient) -> list[StoredAutomation]:
    found: list[Any] = client.request("POST", "/automations/filter", json={"limit": 200}).json()
    return [StoredAutomation.model_validate(one) for one in found]


def _apply(client: SyncPrefectClient, wanted: AutomationCore, there: StoredAutomation | None) -> str:
    if there is None:
        client.create_automation(wanted)
        return "created"
    kept = wanted.model_copy(update={"enabled": there.enabled})  # one that was paused in the UI stays so
    if _described(kept) == _described(there):
        return "unchanged"
    client.update_automation(there.id, kept)
    return "changed"


def _described(automation: AutomationCore) -> dict[str, Any]:
    return automation.model_dump(mode="json", include=set(AutomationCore.model_fields), exclude={"owner_resource", "tags"})


def _wanted(client: SyncPrefectClient, settings: Settings) -> list[AutomationCore]:
    wanted = [_retrain(client, settings, watched) for watched in settings.watch]
    wanted.append(_mark_crashed())
    if settings.notification_block:
        wanted.append(_tell(client, settings.notification_block))
    return wanted


def _retrain(client: SyncPrefectClient, settings: Settings, watched: Watched) -> AutomationCore:
    """Start the deployment for that dataset.

    A dataset that is quiet has settled: with `settle_s` the trigger waits for silence after the last update. Without, it starts at once,
    and again for each further update.
    """
    deployment = retraining_deployment(client)
    parameters = retraining_parameters(deployment, watched)
    return AutomationCore(
        name=f"Retrain on {watched.repository}",
        description=f"{_MARK}: {watched.model_name} is made again when {watched.repository} has changed",
        trigger=_settled(f"huggingface.dataset.{watched.repository}", settings.settle_s),
        actions=[RunDeployment(source="selected", deployment_id=deployment.id, parameters=parameters)],
    )


def _settled(resource: str, settle_s: float) -> EventTrigger:
    if 0 < settle_s < _SHORTEST_SILENCE_S:
        raise SettingsError(f"VOXFACTORY_SETTLE_S={settle_s:g}", f"Set it to 0, or to {_SHORTEST_SILENCE_S:g} or more")
    updated = {str(Happened.DATASET_UPDATED)}
    return EventTrigger(
        match=ResourceSpecification({"prefect.resource.id": resource}),
        after=updated if settle_s else set(),
        expect=updated,
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive if settle_s else Posture.Reactive,
        threshold=1,
        within=timedelta(seconds=settle_s),
    )


def _mark_crashed() -> AutomationCore:
    message = f"Nothing was heard of it for {_SILENCE_S} s: its machine or its process is gone. Retry it: it goes on from there"
    return AutomationCore(
        name="Mark runs that are gone as crashed",
        description=f"{_MARK}: frees the slot of a run whose machine is gone, so that it can be retried",
        trigger=EventTrigger(
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=_SILENCE_S),
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=message)],
    )


def _tell(client: SyncPrefectClient, block: str) -> AutomationCore:
    kind, _, name = block.partition("/")
    try:
        found = client.read_block_document_by_name(name, kind)
    except ObjectNotFound as error:
        raise SettingsError(
            f"VOXFACTORY_NOTIFICATION_BLOCK={block}: Prefect has no such block", "Make it in the Prefect UI under Blocks"
        ) from error
    return AutomationCore(
        name="Tell what happened",
        description=f"{_MARK}: by the block {block}",
        trigger=EventTrigger(
            match=ResourceSpecification({}),
            expect={
                "prefect.flow-run.Failed",
                "prefect.flow-run.Crashed",
                str(Happened.MODEL_PUBLISHED),
                str(Happened.MODEL_REJECTED),
                str(Happened.SPACE_ROLLED_BACK),
            },
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            SendNotification(
                block_document_id=found.id,
                subject="VoxFactory: {{ event.event }}",
                body="{{ event.resource.name }}: {{ event.event }}\n{{ event.payload }}",
            )
        ],
    )
