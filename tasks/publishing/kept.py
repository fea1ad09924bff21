"""A publication that fails costs nothing: what was made is kept, and the error says how to publish it later.

And it hides nothing: what could not be taken back from the Hub is named in that error, too.
"""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from infra.errors import HubError, HubUnreachable, PublishingError
from tasks.contracts import DatasetVersion, EvaluationReport, Upload
from tasks.dataset.export import DatasetPublication
from tasks.publishing.stage import Publication

_left_behind: ContextVar[list[str]] = ContextVar("left_behind")


@contextmanager
def kept(made: EvaluationReport | DatasetVersion, publication: Publication | DatasetPublication) -> Iterator[None]:
    """Add to an error of publishing the command that publishes the same later.

    Raises:
        HubError, HubUnreachable, PublishingError: as raised inside, with that advice.

    """
    left_behind: list[str] = []
    _left_behind.set(left_behind)
    try:
        yield
    except (HubError, HubUnreachable, PublishingError) as error:
        terms = publication.model_dump(mode="json", exclude_defaults=True)
        words = ["voxfactory", "publish", str(made.folder)]
        for option in ("name", "licence"):
            words += [f"--{option}", terms[option]] if option in terms else []
        for form in terms.get("forms", ()):
            words += ["--form", form]
        words += ["--public"] if publication.public else []
        words += (
            ["--anyway"] if isinstance(made, EvaluationReport) else []
        )  # whoever comes here was let through, by whatever rules
        left = "".join(f". It could not be taken back: {what}" for what in left_behind)
        raise type(error)(error.problem, f"{error.fix}{left}. Everything is kept. Later: {shlex.join(words)}") from error


@contextmanager
def told_if_left_behind(uploaded: Upload) -> Iterator[None]:
    """Note for the error of the publication what fails inside: Prefect writes errors of rolling back to the log, and goes on."""
    try:
        yield
    except (HubError, HubUnreachable, PublishingError) as error:
        left = _left_behind.get(None)
        if left is not None:
            left.append(f"{uploaded.repository} may show {uploaded.fingerprint} ({error.problem})")
        raise
