"""Work pools on a real server."""

from collections.abc import Iterator

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.pools import Pool, apply_pool, apply_pools
from infra.errors import SettingsError
from infra.work_pools import Hardware, PoolType, read_template

KUBERNETES = Pool("gpu-in-a-cluster", PoolType.KUBERNETES, "For a test.", 1, read_template(Hardware.GPU, PoolType.KUBERNETES))


@pytest.fixture
def client(server: str) -> Iterator[SyncPrefectClient]:
    """Of that server; pools under test are gone afterwards."""
    with temporary_settings({PREFECT_API_URL: server}), get_client(sync_client=True) as client:
        yield client
        for pool in client.read_work_pools():
            if pool.name == KUBERNETES.name:
                client.delete_work_pool(pool.name)


def test_a_pool_is_created_once_and_then_left_alone(client: SyncPrefectClient):
    assert apply_pool(client, KUBERNETES) == "created"
    made = client.read_work_pool(KUBERNETES.name)
    assert (made.type, made.concurrency_limit, made.description) == ("kubernetes", 1, "For a test.")
    assert made.base_job_template == KUBERNETES.template
    assert apply_pool(client, KUBERNETES) == "unchanged"
    assert client.read_work_pool(KUBERNETES.name) == made


def test_what_differs_is_corrected_and_nothing_else(client: SyncPrefectClient):
    apply_pool(client, KUBERNETES)
    edited = {**KUBERNETES.template, "variables": {"type": "object", "properties": {}}, "job_configuration": {"image": "mine"}}
    client.update_work_pool(KUBERNETES.name, WorkPoolUpdate(base_job_template=edited, is_paused=True))
    assert apply_pool(client, KUBERNETES) == "updated (base_job_template)"
    assert apply_pool(client, KUBERNETES._replace(limit=3)) == "updated (concurrency_limit)"
    corrected = client.read_work_pool(KUBERNETES.name)
    assert (corrected.base_job_template, corrected.concurrency_limit) == (KUBERNETES.template, 3)
    assert corrected.is_paused


def test_a_pool_of_another_type_is_refused(client: SyncPrefectClient):
    apply_pool(client, KUBERNETES)
    with pytest.raises(SettingsError, match="gpu-in-a-cluster exists with the type kubernetes, which cannot become docker"):
        apply_pool(client, KUBERNETES._replace(type=PoolType.DOCKER))
    assert client.read_work_pool(KUBERNETES.name).type == "kubernetes"


def test_both_pools_are_applied_and_told(client: SyncPrefectClient):
    first = apply_pools("process", cpu_limit=2)
    assert [line.partition(":")[0] for line in first] == ["cpu (process)", "gpu (process)"]
    assert apply_pools("process", cpu_limit=2) == ["cpu (process): unchanged", "gpu (process): unchanged"]
    assert client.read_work_pool("cpu").concurrency_limit == 2
    assert client.read_work_pool("gpu").concurrency_limit == 1
    with pytest.raises(SettingsError, match="cannot become docker"):
        apply_pools("docker")
