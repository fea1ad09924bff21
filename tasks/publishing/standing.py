"""What is published under a name now, and from which data: read from the repository itself, so that any machine can go on from it."""

import json

from infra.errors import HubError
from infra.hub import HubConnection
from tasks.contracts import RepositoryKind, StandingModel
from tasks.publishing.repository import Repository
from tasks.publishing.screening import MANIFEST

_CONFIGURATION = "training_config.json"


def standing_model(hub: HubConnection, name: str) -> StandingModel | None:
    """The model on main of owner/name; None if there is none yet.

    Raises:
        HubUnreachable: the Hub does not answer now.
        HubError: what is there was not published from here.

    """
    repository = Repository(hub, name, RepositoryKind.MODEL)
    if not repository.exists():
        return None
    revision = repository.look()[1]
    files = repository.files(revision)
    if MANIFEST not in files:
        repository.published_before(revision, files)  # refuses what is somebody else's
        return None
    if _CONFIGURATION not in files:
        raise HubError(f"{name} does not tell from which data it was made", "Choose another name, or publish it anew")
    made = json.loads(repository.read(_CONFIGURATION, revision))
    return StandingModel(
        repository=name,
        revision=revision,
        dataset_fingerprint=made["dataset_fingerprint"],
        utterances=made.get("dataset_utterances", 0),
        adapter="adapter_config.json" in files,
    )
