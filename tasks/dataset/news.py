"""What is new in a dataset since a model was made from it, and whether that is worth another training."""

from pydantic import Field

from infra.settings import Settings
from tasks.contracts import Contract, DatasetVersion, News, StandingModel
from tasks.dataset.version import open_version, read_utterances


class Retraining(Contract):
    """When a new model is made, and from what."""

    new_utterances: int = Field(1, ge=1, description="How many utterances must be new before it is worth a training.")
    warm_start: bool = Field(False, description="Go on from the published adapter instead of from the base model.")


def find_news(settings: Settings, dataset: DatasetVersion, standing: StandingModel | None, rules: Retraining) -> News:
    """Compare a version with the one that the published model was trained on.

    Utterance by utterance if that version is on this machine; else by their number.
    """
    now = dataset.train_utterances + dataset.eval_utterances
    if standing is None:
        return News(new=now, gone=0, enough=True, reason="nothing is published yet")
    if standing.dataset_fingerprint == dataset.fingerprint:
        return News(new=0, gone=0, enough=False, reason=f"{standing.repository} was made from exactly these data: nothing is new")
    before = _known(settings, standing.dataset_fingerprint)
    if before:
        ids, known = ({one.id for one in read_utterances(version)} for version in (dataset, before))
        new, gone = len(ids - known), len(known - ids)
    else:
        new, gone = max(0, now - standing.utterances), max(0, standing.utterances - now)
    enough = new >= rules.new_utterances
    verdict = "enough" if enough else f"fewer than {rules.new_utterances}"
    return News(
        new=new,
        gone=gone,
        enough=enough,
        reason=f"{new} utterances are new and {gone} gone since {standing.repository}: {verdict}",
    )


def _known(settings: Settings, fingerprint: str) -> DatasetVersion | None:
    """A version of those data in this home."""
    for path in settings.folder("datasets").glob("[!.]*/dataset.json"):
        version = open_version(path.parent)
        if version.fingerprint == fingerprint:
            return version
    return None
