"""What a person does in the Prefect UI when a run waits for their answer."""

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import SetStateStatus


def waiting() -> list[FlowRun]:
    """The runs that wait for a person."""
    only = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED])))
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_run_filter=only)


def answer_with(**given: str) -> list[str]:
    """The names of the waiting runs that took this as their answer."""
    with get_client(sync_client=True) as client:
        return [run.name for run in waiting() if client.resume_flow_run(run.id, given).status is SetStateStatus.ACCEPT]
