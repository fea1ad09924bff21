"""The newest flow runs of the Prefect server, and how far they are."""

from datetime import UTC, datetime
from typing import NamedTuple

from httpx import HTTPError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterType,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateName,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import ArtifactSort, FlowRunSort
from prefect.exceptions import PrefectHTTPStatusError

_RUNS = 8
_NOT_YET = ["Scheduled"]  # runs that a schedule has laid out for later


class RunLine(NamedTuple):
    """A flow run as one reads it."""

    name: str
    state: str
    kind: str  # of the state, as Prefect's StateType names it
    since: str
    progress: str


def newest_runs() -> list[RunLine] | None:
    """The runs that were last to be started, the newest first, or None if the server at PREFECT_API_URL does not answer."""
    begun = FlowRunFilter(state=FlowRunFilterState(name=FlowRunFilterStateName(not_any_=_NOT_YET)))
    try:
        with get_client(sync_client=True) as client:
            runs = client.read_flow_runs(flow_run_filter=begun, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=_RUNS)
            progress = _progress(client, [run for run in runs if run.state and run.state.is_running()])
    except (HTTPError, PrefectHTTPStatusError):  # it is being started again, perhaps: the page says so
        return None
    return [_line(run, progress.get(str(run.id), "")) for run in runs]


def _line(run: FlowRun, progress: str) -> RunLine:
    state = run.state
    name, kind = (state.name or state.type.value, state.type.value) if state else ("unknown", "")
    return RunLine(run.name, name, kind, _age(run), progress)


def _age(run: FlowRun) -> str:
    """How long it took, or has taken until now."""
    if run.start_time is None:
        return ""
    seconds = int(((run.end_time or datetime.now(UTC)) - run.start_time).total_seconds())
    return f"{seconds // 60}:{seconds % 60:02}"


def _progress(client: SyncPrefectClient, running: list[FlowRun]) -> dict[str, str]:
    """The newest progress bar of each run, in words."""
    if not running:
        return {}
    bars = client.read_artifacts(
        artifact_filter=ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=[run.id for run in running]), type=ArtifactFilterType(any_=["progress"])
        ),
        sort=ArtifactSort.UPDATED_DESC,
        limit=50,
    )
    newest: dict[str, str] = {}
    for bar in bars:
        newest.setdefault(str(bar.flow_run_id), bar.description or "")
    return newest
