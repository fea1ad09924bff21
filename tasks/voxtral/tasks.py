"""The door of the model room."""

from typing import Any

from prefect import task
from prefect.client.schemas.objects import State

from tasks.contracts import Checkpoint
from tasks.voxtral.checkpoint import find_checkpoint


async def network_can_heal(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Retry what time can mend: connections, time-outs, server errors; never a wrong name."""
    import httpx

    try:
        await state.aresult()
    except httpx.HTTPStatusError as error:
        return error.response.status_code in (408, 429) or error.response.status_code >= 500
    except (httpx.TransportError, ConnectionError, TimeoutError):
        return True
    except Exception:  # noqa: BLE001 - only its kind is looked at; it stays the task's failure
        return False
    return False


@task(name="resolve base model", retries=3, retry_delay_seconds=[2, 8, 30], retry_condition_fn=network_can_heal)
def resolve_checkpoint(name: str, revision: str | None) -> Checkpoint:
    """Find a checkpoint and resolve it to a commit or a hash."""
    return find_checkpoint(name, revision)
