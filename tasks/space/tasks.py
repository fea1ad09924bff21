"""The door of the demo room."""

from typing import Any

from prefect import task
from prefect.client.schemas.objects import State

from infra.errors import SpaceDidNotStart
from infra.settings import settings
from tasks.caching import ByAddress
from tasks.contracts import DeployedSpace, StagedModel
from tasks.space.local import running_space
from tasks.space.prove import proof_clips, prove
from tasks.space.render import render, space_address

_spaces = ByAddress(kind="spaces", address=space_address)


async def space_did_not_start(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Retry a demo that did not start; never one that answers wrongly."""
    return isinstance(await state.aresult(raise_on_failure=False), SpaceDidNotStart)


@task(
    name="deploy demo",
    cache_policy=_spaces,
    result_serializer="json",
    retries=1,
    retry_condition_fn=space_did_not_start,
)
def deploy_and_prove(staged: StagedModel) -> DeployedSpace:
    """Render the demo, start it, ask it for known clips, stop it."""
    folder = render(staged, _spaces.folder(staged=staged))
    with running_space(folder, staged, settings().space_timeout_s) as (url, _):
        proofs = prove(url, proof_clips(staged.report))
    return DeployedSpace(folder=folder, staged=staged, proofs=proofs)
