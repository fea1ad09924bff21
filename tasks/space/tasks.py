"""The door of the demo room."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect import task

from infra.errors import SpaceDidNotStart, SpaceError
from infra.settings import settings
from tasks.artifacts import show_demo
from tasks.caching import ByAddress
from tasks.contracts import DeployedSpace, StagedModel
from tasks.events import space_deployed, space_rolled_back
from tasks.lineage import demo_made
from tasks.retrying import retried_after
from tasks.space.local import running_space
from tasks.space.prove import prove
from tasks.space.render import render, space_address

_PROOFS = 3
_spaces = ByAddress(kind="spaces", address=space_address)


@contextmanager
def _told(staged: StagedModel) -> Iterator[None]:
    """Tell by an event whether the demo serves what was measured; one that did not start may yet do so."""
    try:
        yield
    except SpaceDidNotStart:
        raise
    except SpaceError as error:
        space_rolled_back(staged.name, error.problem)
        raise
    space_deployed(staged.name, {"content": staged.content_hash})


@task(
    name="deploy demo",
    cache_policy=_spaces,
    result_serializer="json",
    **retried_after(SpaceDidNotStart, (0,)),
)
def deploy_and_prove(staged: StagedModel) -> DeployedSpace:
    """Render the demo, start it, ask it for known clips, stop it."""
    folder = render(staged, _spaces.folder(staged=staged))
    with _told(staged), running_space(folder, staged, settings().space_timeout_s) as (url, _):
        proofs = prove(url, staged.report.known_clips(_PROOFS))
    demo = DeployedSpace(folder=folder, staged=staged, proofs=proofs)
    show_demo(demo)
    demo_made(staged)
    return demo
