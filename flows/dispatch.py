"""Stages that need a GPU run where one is: by a setting, as deployments of the gpu work pool.

The run that asks (the parent) names folders by reference and an errand; the run that does it (the child) first looks whether it sees
what the parent left for that errand, so that storages that are not shared are told before hours of work and not after; its result
comes back as a note, its folders by the exchange. An errand is named by the parent, the stage and what it is given: a parent that was
killed and goes on finds the child that is already at work, or its answer, and starts none twice. An errand that failed is begun anew.
"""

import inspect
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import Any, TypeVar, cast, get_type_hints
from uuid import UUID

from httpx import HTTPError
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.context import FlowRunContext
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Cancelling

from infra.errors import ServerError, StageError
from infra.exchange import leave_note, locate, put, read_note, reference, relocated
from infra.settings import Watched, settings
from infra.storage import content_hash
from tasks.contracts import Contract, DatasetVersion, EvaluationReport, TrainedModel
from tasks.voxtral.checkpoint import find_checkpoint

_ERRAND = "errand:"  # tag of a child
_RETRAIN = "retrain/retrain"
_POLL_S = 2.0
_PATIENCE_S = 15 * 60.0  # with a server that does not answer
Made = TypeVar("Made", TrainedModel, EvaluationReport)


def on_gpu(stage: "Flow[..., Any]") -> Callable[..., Any]:
    """The stage itself, or by the setting `gpu_pool` its deployment, called like it."""
    return partial(_send, stage) if settings().gpu_pool else stage


def start_retraining(watched: Watched) -> str:
    """Start the deployment for a watched dataset, once a day at most; the dataset's name."""
    with get_client(sync_client=True) as client:
        deployment = retraining_deployment(client)
    today = f"retrain/{watched.repository}/{datetime.now(UTC):%Y-%m-%d}"
    parameters = retraining_parameters(deployment, watched)
    run_deployment(deployment.id, parameters=parameters, timeout=0, as_subflow=False, idempotency_key=today)
    return watched.repository


def retraining_deployment(client: SyncPrefectClient) -> DeploymentResponse:
    """The deployment that retrains.

    Raises:
        StageError: there is none.

    """
    try:
        return client.read_deployment_by_name(_RETRAIN)
    except ObjectNotFound as error:
        raise StageError(
            f"The Prefect server has no deployment {_RETRAIN}", "Run `voxfactory up`, or `prefect deploy --all`"
        ) from error


def retraining_parameters(deployment: DeploymentResponse, watched: Watched) -> dict[str, Any]:
    """The deployment's own parameters, for this dataset and its model."""
    own = deployment.parameters or {}
    source: dict[str, Any] = {"repository": watched.repository, "name": watched.repository.rpartition("/")[2]}
    if watched.language:
        source["options"] = {"language": watched.language}
    return {
        "source": (own.get("source") or {}) | source,
        "publication": (own.get("publication") or {}) | {"name": watched.model_name},
    }


def look_for_errand() -> None:
    """At the start of a stage: if a parent sent it, what that left must be visible here.

    Raises:
        ExchangeError: it is not.

    """
    errand = _errand()
    if errand:
        read_note(settings(), errand)


def hand_over(made: Made) -> Made:
    """At the end of a stage: if a parent sent it, let it have what was made; returns that."""
    errand = _errand()
    if errand:
        put(settings(), made.folder)
        answer = {"home": str(settings().folder("")), "made": made.model_dump(mode="json")}
        leave_note(settings(), answer, f"{errand}.answer")
    return made


def _errand() -> str | None:
    context = FlowRunContext.get()
    tags = context.flow_run.tags if context and context.flow_run else []
    return next((tag.removeprefix(_ERRAND) for tag in tags if tag.startswith(_ERRAND)), None)


def _send(stage: "Flow[..., Any]", *given: Any, **named: Any) -> Any:
    """Let a deployment do it, and wait."""
    parent = FlowRunContext.get()
    if parent is None or parent.flow_run is None:
        raise StageError(f"{stage.name} was sent to the gpu pool from outside a flow run", "Start it as a flow or a deployment")
    arguments = {name: _named(value) for name, value in inspect.signature(stage.fn).bind(*given, **named).arguments.items()}
    key = content_hash(str(parent.flow_run.id), stage.name, arguments)[:24]
    for attempt in count(1):
        errand = f"{key}-{attempt}"
        leave_note(settings(), {"stage": stage.name}, errand)
        child = _child(stage.name, arguments, errand)
        if child.state is None or not child.state.is_final() or child.state.is_completed():
            break
    _wait(child)
    return _received(stage, errand)


def _child(stage: str, arguments: dict[str, Any], errand: str) -> FlowRun:
    deployment = f"{stage}/{stage}"
    tags = [f"{_ERRAND}{errand}"]
    try:
        return cast(FlowRun, run_deployment(deployment, parameters=arguments, timeout=0, tags=tags, idempotency_key=errand))
    except ObjectNotFound as error:
        raise StageError(
            f"The Prefect server has no deployment {deployment}", "Run `voxfactory up`, or `prefect deploy --all`"
        ) from error


def _named(value: Any) -> Any:
    """A value as JSON, artefacts as references to what the exchange now has."""
    if isinstance(value, DatasetVersion | TrainedModel | EvaluationReport):
        put(settings(), value.folder)
        return reference(settings(), value.folder)
    if isinstance(value, list | tuple):
        return [_named(one) for one in value]
    return value.model_dump(mode="json") if isinstance(value, Contract) else value


def _wait(child: FlowRun) -> None:
    """Until it is done; whoever interrupts us interrupts it.

    Raises:
        StageError: it ended badly; with what it said.
        ServerError: the server was gone for too long.

    """
    try:
        ended = _ended(child.id)
    except BaseException:  # Ctrl-C and Prefect's TerminationSignal are no Exceptions
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(child.id, Cancelling())
        raise
    state = ended.state
    if state is None or not state.is_completed():
        said = (state.message if state else None) or "it said nothing"
        raise StageError(
            f"The run {ended.name} of {child.id} on the gpu pool ended {state.name if state else 'nowhere'}: {said}",
            "Read its log in the Prefect UI, mend what it says and retry this run: it goes on from there",
        )


def _ended(run: UUID) -> FlowRun:
    heard = time.monotonic()
    with get_client(sync_client=True) as client:
        while True:
            try:
                found = client.read_flow_run(run)
                heard = time.monotonic()
                if found.state and found.state.is_final():
                    return found
            except (HTTPError, PrefectHTTPStatusError) as error:  # it is being started again, perhaps
                if time.monotonic() > heard + _PATIENCE_S:
                    raise ServerError("The Prefect server does not answer any more", "Start it, and retry this run") from error
            time.sleep(_POLL_S)


def _received(stage: "Flow[..., Any]", errand: str) -> Any:
    answer = read_note(settings(), f"{errand}.answer")
    kind = get_type_hints(stage.fn)["return"]
    made = kind.model_validate(relocated(answer["made"], answer["home"], str(settings().folder(""))))
    locate(settings(), made.folder)
    return _on_this_machine(made) if settings().exchange else made


def _on_this_machine(made: Any) -> Any:
    """Let the base model be where it lies here."""
    if isinstance(made, EvaluationReport):
        locate(settings(), made.model.folder)
        return made.model_copy(update={"model": _on_this_machine(made.model)})
    return made.model_copy(update={"base": find_checkpoint(made.base.name, made.base.revision)})
