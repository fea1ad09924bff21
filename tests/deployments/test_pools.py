"""Work pools without a server: their files, and what is refused before one is asked."""

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.pools import apply_pools, written
from infra.errors import ServerError, SettingsError
from infra.processes import free_port
from infra.work_pools import Hardware, PoolType, template_path

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("pool_type", list(PoolType))
@pytest.mark.parametrize("hardware", list(Hardware))
def test_files_are_what_the_code_makes_of_prefects_templates(hardware: Hardware, pool_type: PoolType):
    """After an upgrade of Prefect: `python -m deployments.pools`, and read the difference."""
    assert template_path(hardware, pool_type).read_text(encoding="utf-8") == written(hardware, pool_type)


def test_an_unknown_type_is_refused_with_those_there_are():
    with pytest.raises(SettingsError, match=r"'slurm' is no type of work pool.* process, docker, kubernetes"):
        apply_pools("slurm")


def test_no_server_is_told_in_one_line():
    with (
        temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}),
        pytest.raises(ServerError, match="No Prefect server answers at http:"),
    ):
        apply_pools("process")


def test_no_address_is_told_in_one_line():
    with temporary_settings(restore_defaults={PREFECT_API_URL}), pytest.raises(ServerError, match="Set PREFECT_API_URL"):
        apply_pools("process")
