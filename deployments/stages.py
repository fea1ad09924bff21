"""Which stages of a flow run were computed and which came from the cache, as the Prefect server recorded them."""

import re
import time
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
)
from prefect.client.schemas.objects import TaskRun
from prefect.client.schemas.sorting import TaskRunSort

_RECORDED_WITHIN_S = 15  # task runs are recorded by the server a moment after they end
_POLL_S = 0.5
_GENERATED_SUFFIX = re.compile(r"-[0-9a-f]{3}$")  # Prefect tells runs of one task apart by it


def finished_stages(flow_run_id: UUID | None) -> list[tuple[str, str, float]]:
    """Name, how it was done, and seconds of every task of a finished flow run and its subflows, in order."""
    if flow_run_id is None:
        return []
    with get_client(sync_client=True) as client:
        deadline = time.monotonic() + _RECORDED_WITHIN_S
        before: list[TaskRun] = []
        runs = _task_runs(client, flow_run_id)
        while not _settled(before, runs) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            before, runs = runs, _task_runs(client, flow_run_id)
    return [(_GENERATED_SUFFIX.sub("", run.name), _how(run), run.total_run_time.total_seconds()) for run in runs]


def _settled(before: list[TaskRun], runs: list[TaskRun]) -> bool:
    """Whether every run that the server knows has ended, and no new one appeared between two looks."""
    return bool(runs) and len(before) == len(runs) and all(run.state and run.state.is_final() for run in runs)


def _task_runs(client: SyncPrefectClient, flow_run_id: UUID) -> list[TaskRun]:
    children = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run_id]))
    )
    flow_runs = [flow_run_id, *(child.id for child in children)]
    runs = client.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=flow_runs)), sort=TaskRunSort.EXPECTED_START_TIME_ASC
    )
    return [run for run in runs if not (run.state and run.state.state_details.child_flow_run_id)]


def _how(run: TaskRun) -> str:
    name = run.state_name or "unknown"
    return {"Cached": "from the cache", "Completed": "computed"}.get(name, name.lower())
