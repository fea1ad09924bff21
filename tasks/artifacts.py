"""What one sees of a run in the Prefect UI: how far it is, and what came of it, as artifacts.

They are for people: a server that does not answer costs the picture, never the work.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from httpx import HTTPError
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.exceptions import PrefectHTTPStatusError

from infra.progress import Progress, listening
from tasks.contracts import DatasetVersion, EvaluationReport, GateDecision, PublishedModel

_EVERY_S = 3.0  # each update is a call, and a row of the server's database
_log = logging.getLogger(__name__)


@contextmanager
def progress_shown() -> Iterator[None]:
    """Show what the work inside reports, one progress bar for each of its stages."""
    with listening(_Bars()):
        yield


class _Bars:
    """Artifacts by stage; they are told of the first, the last, and one report in some seconds."""

    def __init__(self) -> None:
        self._bars: dict[str, UUID] = {}
        self._told: dict[str, float] = {}

    def __call__(self, progress: Progress) -> None:
        now, last = time.monotonic(), progress.done >= progress.total
        if progress.total <= 0 or (now < self._told.get(progress.stage, 0) + _EVERY_S and not last):
            return
        self._told[progress.stage] = now
        with _for_people():
            percent = 100 * progress.done / progress.total
            if progress.stage in self._bars:
                update_progress_artifact(self._bars[progress.stage], progress=percent, description=_described(progress))
            else:
                self._bars[progress.stage] = create_progress_artifact(percent, description=_described(progress))  # type: ignore[assignment]


def _described(progress: Progress) -> str:
    return f"{progress.stage}: {progress.done} of {progress.total} {progress.note}".strip()


def show_dataset(dataset: DatasetVersion) -> None:
    """What is in a dataset version."""
    rows = [
        {"what": "to train on", "value": f"{dataset.train_utterances} utterances"},
        {"what": "held out", "value": f"{dataset.eval_utterances} utterances"},
        {"what": "set aside", "value": f"{dataset.set_aside_utterances} utterances"},
        {"what": "refused", "value": f"{dataset.rejected} inputs: {dataset.folder / 'rejected.jsonl'}"},
        {"what": "length", "value": f"{dataset.hours:.2f} h"},
        {"what": "speakers", "value": str(dataset.speakers)},
        {"what": "languages", "value": ", ".join(dataset.languages)},
        {"what": "fingerprint", "value": dataset.fingerprint},
        {"what": "folder", "value": str(dataset.folder)},
    ]
    _table("dataset", rows, f"The dataset {dataset.name}")


def show_report(report: EvaluationReport) -> None:
    """Error rates before and after, set by set."""
    rows = [
        {
            "set": score.set_name,
            "language": score.language,
            "utterances": score.utterances,
            "WER before, %": round(100 * score.wer_base.value, 1),
            "WER after, %": round(100 * score.wer_tuned.value, 1),
            "from": round(100 * score.wer_tuned.low, 1),
            "to": round(100 * score.wer_tuned.high, 1),
            "CER after, %": round(100 * score.cer_tuned, 1),
        }
        for score in report.scores
    ]
    _table(
        "evaluation", rows, f"{report.dataset.name} against {report.rival or report.model.base.label}; from and to: 95 % interval"
    )


def show_decision(decision: GateDecision) -> None:
    """What the gate says, and why."""
    verdict = "publish" if decision.publish else "do not publish"
    reasons = "\n".join(f"- {reason}" for reason in decision.reasons)
    with _for_people():
        create_markdown_artifact(f"## Gate: {verdict}\n\n{reasons}\n", key="gate", description=f"Gate: {verdict}")


def show_published(published: PublishedModel, endpoint: str) -> None:
    """Where a model is."""
    place = published.place
    text = (
        f"{place.repository} at {place.tag}: {'public' if place.public else 'private'}, proven on {len(published.proofs)} clips"
    )
    with _for_people():
        if endpoint.startswith("https://"):
            create_link_artifact(
                f"{endpoint}/{place.repository}/tree/{place.tag}", place.repository, key="model", description=text
            )
        else:
            create_markdown_artifact(f"{text}, on {place.hub}. `voxfactory hub` shows it.\n", key="model", description=text)


def _table(key: str, rows: list[dict[str, Any]], description: str) -> None:
    with _for_people():
        create_table_artifact(rows, key=key, description=description)


@contextmanager
def _for_people() -> Iterator[None]:
    try:
        yield
    except (HTTPError, PrefectHTTPStatusError) as error:
        _log.warning("The Prefect server did not take an artifact: %s", error)
