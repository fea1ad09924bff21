"""The door of the demo room."""

from prefect import task

from infra.settings import settings
from tasks.caching import ByAddress
from tasks.contracts import DeployedSpace, StagedModel
from tasks.space.local import running_space
from tasks.space.prove import proof_clips, prove
from tasks.space.render import render, space_address

_spaces = ByAddress(kind="spaces", address=lambda staged: space_address(staged))


@task(name="deploy demo", cache_policy=_spaces, result_serializer="json")
def deploy_and_prove(staged: StagedModel) -> DeployedSpace:
    """Render the demo, start it, ask it for known clips, stop it."""
    folder = render(staged, _spaces.folder(staged=staged))
    with running_space(folder, staged, settings().space_timeout_s) as url:
        proofs = prove(url, proof_clips(staged.report))
    return DeployedSpace(folder=folder, staged=staged, proofs=proofs)
