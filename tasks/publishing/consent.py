"""Whether speakers agreed to what is about to happen with what was made from their voices."""

import json
from collections.abc import Iterable

from infra.errors import PublishingError
from infra.settings import Settings
from infra.storage import readable
from tasks.contracts import Consent, DatasetVersion, EvaluationReport


def check_consent(settings: Settings, datasets: Iterable[DatasetVersion], public: bool, unknown: Iterable[str] = ()) -> None:
    """Ask twice before everyone gets what was made from voices whose consent is private.

    Args:
        settings: holds the second yes.
        datasets: what it was made from.
        public: whether everyone is to get it: the first yes.
        unknown: fingerprints of data that it was made from, too, of which no more is known: private, as what nobody spoke about.

    Raises:
        PublishingError: it was asked for once only.

    """
    private = [dataset.name for dataset in datasets if dataset.consent_scope is Consent.PRIVATE]
    private += [f"the set {fingerprint[:12]} that was mixed in" for fingerprint in unknown]
    if public and private and not settings.publish_private_voices:
        raise PublishingError(
            f"The consent of the speakers of {', '.join(dict.fromkeys(private))} is private, and the publication was to be public",
            "Publish it in private, ingest the data with a consent that covers it (--consent-scope public), or confirm with "
            "VOXFACTORY_PUBLISH_PRIVATE_VOICES=true",
        )


def unmeasured_sets(report: EvaluationReport) -> list[str]:
    """Fingerprints of the data that were mixed into the training and are in no set of the evaluation."""
    path = report.model.folder / "training_config.json"
    if not path.is_file():
        raise PublishingError(f"{report.model.folder} lacks {path.name}", "Train and evaluate the model again")
    with readable(path, PublishingError):
        mixed_in = json.loads(path.read_text(encoding="utf-8"))["replay_fingerprints"]
    known = {version.fingerprint for version in (report.dataset, *report.guards)}
    return [fingerprint for fingerprint in mixed_in if fingerprint not in known]
