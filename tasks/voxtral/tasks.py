"""The door of the model room."""

from typing import Any

from prefect import task
from prefect.client.schemas.objects import State

from infra.errors import HubUnreachable
from tasks.contracts import Checkpoint
from tasks.voxtral.checkpoint import find_checkpoint


async def hub_was_unreachable(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Retry what time can mend; never a wrong name."""
    return isinstance(await state.aresult(raise_on_failure=False), HubUnreachable)


@task(name="resolve base model", retries=3, retry_delay_seconds=[2, 8, 30], retry_condition_fn=hub_was_unreachable)
def resolve_checkpoint(name: str, revision: str | None) -> Checkpoint:
    """Find a checkpoint and resolve it to a commit or a hash."""
    return find_checkpoint(name, revision)
