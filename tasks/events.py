"""What the factory tells the world through Prefect: a dataset changed, a model was published or refused, a demo serves or does not.

An event that has an identity, such as a dataset at a revision, is told once, however many see it happen: its id is a hash of that
identity. Prefect drops a second event of an id for some minutes; whoever announces looks besides whether there is one, for the server keeps
them for a week.
"""

from collections import deque
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4, uuid5

from prefect.client.orchestration import get_client
from prefect.types._datetime import now

_OURS = UUID("6f3c1f0e-5f0b-5d35-9a52-6a0f4f0a7c11")  # namespace of the ids: never change it
_told: deque[UUID] = deque(maxlen=1000)  # by this process: the server lists an event some seconds after it has heard it


class Happened(StrEnum):
    """Names of events. Automations match them, so they are part of the interface."""

    DATASET_UPDATED = "voxfactory.dataset.updated"
    MODEL_PUBLISHED = "voxfactory.model.published"
    MODEL_PASSED = "voxfactory.model.passed"
    MODEL_REJECTED = "voxfactory.model.rejected"
    SPACE_DEPLOYED = "voxfactory.space.deployed"
    SPACE_ROLLED_BACK = "voxfactory.space.rolled-back"


def announce(event: Happened, resource: str, name: str, payload: dict[str, Any], once: str | None = None) -> bool:
    """Tell the Prefect server, and wait until it has heard; False if it was told before.

    Args:
        event: what happened.
        resource: to what: the id of a Prefect resource, such as `huggingface.dataset.owner/name`.
        name: of that resource, for people.
        payload: JSON for whoever reacts.
        once: what makes this event the same as another one; None: it is a new one each time.

    """
    identity = uuid5(_OURS, f"{event} {once}") if once else uuid4()
    if identity in _told:
        return False
    described = {
        "id": str(identity),
        "occurred": now("UTC").isoformat(),
        "event": str(event),
        "resource": {"prefect.resource.id": resource, "prefect.resource.name": name},
        "payload": payload,
    }
    with get_client(sync_client=True) as client:
        if once and client.request("POST", "/events/filter", json={"filter": {"id": {"id": [str(identity)]}}}).json()["events"]:
            return False
        client.request("POST", "/events", json=[described]).raise_for_status()
    _told.append(identity)
    return True


def dataset_updated(repository: str, revision: str) -> bool:
    """A dataset of a Hub has a new revision on its main branch; False if that is known."""
    payload = {"repository": repository, "name": repository.rpartition("/")[2], "revision": revision}
    resource = f"huggingface.dataset.{repository}"
    return announce(Happened.DATASET_UPDATED, resource, repository, payload, once=f"dataset/{repository}@{revision}")


def recordings_saved(name: str, fingerprint: str) -> bool:
    """Recordings were added to a dataset of this project; False if that version is known."""
    payload = {"name": name, "revision": fingerprint}
    return announce(
        Happened.DATASET_UPDATED, f"voxfactory.dataset.{name}", name, payload, once=f"recordings/{name}@{fingerprint}"
    )


def model_published(repository: str, revision: str, tag: str, payload: dict[str, Any]) -> None:
    """A model is on a Hub, proven."""
    described = {"repository": repository, "revision": revision, "tag": tag} | payload
    announce(
        Happened.MODEL_PUBLISHED, f"huggingface.model.{repository}", repository, described, once=f"model/{repository}@{revision}"
    )


def model_rejected(name: str, reasons: tuple[str, ...], payload: dict[str, Any]) -> None:
    """The gate let a model not through."""
    announce(Happened.MODEL_REJECTED, f"voxfactory.model.{name}", name, {"reasons": list(reasons)} | payload)


def model_passed(name: str, reasons: tuple[str, ...], payload: dict[str, Any]) -> None:
    """The gate, or a person, let a model through."""
    announce(Happened.MODEL_PASSED, f"voxfactory.model.{name}", name, {"reasons": list(reasons)} | payload)


def space_deployed(repository: str, payload: dict[str, Any]) -> None:
    """A demo was asked and answered as evaluation did."""
    announce(Happened.SPACE_DEPLOYED, f"voxfactory.space.{repository}", repository, payload)


def space_rolled_back(repository: str, problem: str) -> None:
    """A demo did not serve what was measured, and the one before it stays."""
    announce(Happened.SPACE_ROLLED_BACK, f"voxfactory.space.{repository}", repository, {"problem": problem})
