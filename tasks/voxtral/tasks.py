"""The door of the model room."""

from prefect import task

from infra.errors import HubUnreachable
from tasks.contracts import Checkpoint
from tasks.retrying import HUB_WAITS_S, retried_after
from tasks.voxtral.checkpoint import find_checkpoint


@task(name="resolve base model", **retried_after(HubUnreachable, HUB_WAITS_S))
def resolve_checkpoint(name: str, revision: str | None) -> Checkpoint:
    """Find a checkpoint and resolve it to a commit or a hash."""
    return find_checkpoint(name, revision)


def resolve_named(name: str) -> Checkpoint:
    """The same for a Hub id, id@revision, or folder."""
    bare, _, revision = name.partition("@")
    return resolve_checkpoint(bare, revision or None)
