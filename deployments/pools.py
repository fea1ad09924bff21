"""`voxfactory pools apply`: the work pools `cpu` and `gpu` on a Prefect server, as infra/work_pools describes them.

Idempotent: a pool that is as it should be is left alone, one that differs is corrected, a missing one is made. A pool cannot change its
type, so one of another type is refused; whether a pool is paused is nobody's business here. The limit of `gpu` is how many trainings
share the GPUs; a global concurrency limit beside it would only be a second place to say so.

`python -m deployments.pools` writes the templates again after an upgrade of Prefect; it needs the extras `docker` and `kubernetes`.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from infra.errors import ServerError, SettingsError
from infra.work_pools import Hardware, PoolType, Template, read_template, template_path
from infra.work_pools.derive import derive

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

_PURPOSE = {
    Hardware.CPU: "Stages that need no GPU: ingestion, publication, demos, watching.",
    Hardware.GPU: "Training and evaluation. Its limit is how many runs may share the GPUs.",
}


class Pool(NamedTuple):
    """A work pool as it should be."""

    name: str
    type: PoolType
    description: str
    limit: int
    template: Template


def apply_pools(pool_type: str, cpu_limit: int = 4, gpu_limit: int = 1) -> list[str]:
    """Create or correct both pools on the server at PREFECT_API_URL; one line a pool says what was done.

    Args:
        pool_type: process, docker or kubernetes.
        cpu_limit: how many runs of `cpu` may go on at once.
        gpu_limit: how many runs of `gpu` may go on at once.

    Raises:
        SettingsError: there is no such type, or a pool of that name has another one.
        ServerError: the server does not answer, or refuses.

    """
    limits = {Hardware.CPU: cpu_limit, Hardware.GPU: gpu_limit}
    kind = _known(pool_type)
    pools = [Pool(each, kind, _PURPOSE[each], limits[each], read_template(each, kind)) for each in Hardware]
    with _client() as client:
        return [f"{pool.name} ({pool.type}): {apply_pool(client, pool)}" for pool in pools]


def apply_pool(client: "SyncPrefectClient", pool: Pool) -> str:
    """Create or correct one pool; says created, updated or unchanged.

    Raises:
        SettingsError: a pool of that name has another type.

    """
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

    wanted: dict[str, Any] = {
        "description": pool.description,
        "concurrency_limit": pool.limit,
        "base_job_template": pool.template,
    }
    try:
        found = client.read_work_pool(pool.name)
    except ObjectNotFound:
        try:
            client.create_work_pool(WorkPoolCreate(name=pool.name, type=pool.type.value, **wanted))
        except ObjectAlreadyExists:  # somebody else was faster: see what it has become
            return apply_pool(client, pool)
        return "created"
    if found.type != pool.type:
        raise SettingsError(
            f"The work pool {pool.name} exists with the type {found.type}, which cannot become {pool.type}",
            f"Apply the type {found.type}, or delete the pool first: prefect work-pool delete {pool.name}",
        )
    changed = {name: value for name, value in wanted.items() if getattr(found, name) != value}
    if not changed:
        return "unchanged"
    client.update_work_pool(pool.name, WorkPoolUpdate(**changed))
    return f"updated ({', '.join(changed)})"


def _known(pool_type: str) -> PoolType:
    try:
        return PoolType(pool_type)
    except ValueError as error:
        raise SettingsError(f"{pool_type!r} is no type of work pool", f"Choose one of {', '.join(PoolType)}") from error


@contextmanager
def _client() -> Iterator["SyncPrefectClient"]:
    from httpx import HTTPStatusError, TransportError
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL

    address = PREFECT_API_URL.value()
    if not address:
        raise ServerError("No Prefect server is named", "Set PREFECT_API_URL")
    try:
        with get_client(sync_client=True) as client:
            yield client
    except TransportError as error:
        raise ServerError(f"No Prefect server answers at {address}: {error}", "Start it, or correct PREFECT_API_URL") from error
    except HTTPStatusError as error:
        status = error.response.status_code
        fix = "Set PREFECT_API_AUTH_STRING" if status in (401, 403) else "Read the server's log"
        raise ServerError(f"The Prefect server at {address} answered {status} to {error.request.url.path}", fix) from error


def stock_template(pool_type: PoolType) -> Template:
    """The template that Prefect itself ships for a type.

    Raises:
        SettingsError: the worker of that type is not installed.

    """
    from prefect.workers.base import BaseWorker

    worker = BaseWorker.get_worker_class_from_type(pool_type.value)
    if worker is None:
        raise SettingsError(f"There is no worker of type {pool_type} here", f"pip install 'voxfactory[{pool_type}]'")
    return worker.get_default_base_job_template()


def written(hardware: Hardware, pool_type: PoolType) -> str:
    """The text of a template's file."""
    return json.dumps(derive(stock_template(pool_type), hardware, pool_type), indent=2) + "\n"


def main() -> None:
    """Write every template."""
    for pool_type in PoolType:
        for hardware in Hardware:
            path = template_path(hardware, pool_type)
            path.write_text(written(hardware, pool_type), encoding="utf-8")
            sys.stdout.write(f"{path.name}\n")


if __name__ == "__main__":
    main()
