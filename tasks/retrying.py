"""When a task is tried again: after errors that time can mend, and no others."""

from collections.abc import Sequence
from typing import Any

from prefect.client.schemas.objects import State

from infra.errors import VoxFactoryError

HUB_WAITS_S = (2.0, 8.0, 30.0)


def retried_after(kind: type[VoxFactoryError], waits_s: Sequence[float]) -> dict[str, Any]:
    """The arguments of a task that is tried again after an error of that kind: once for each wait, in seconds."""

    async def may_heal(_task: Any, _run: Any, state: State[Any]) -> bool:
        return isinstance(await state.aresult(raise_on_failure=False), kind)

    return {"retries": len(waits_s), "retry_delay_seconds": list(waits_s), "retry_condition_fn": may_heal}
