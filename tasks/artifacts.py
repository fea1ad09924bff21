"""What one sees of a run in the Prefect UI: how far it is, and what came of it, as artifacts.

They are for people: a server that does not answer costs the picture, never the work.
"""

import base64
import json
import logging
import shlex
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

from httpx import HTTPError
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.exceptions import PrefectHTTPStatusError

from infra.progress import Progress, listening
from infra.settings import settings
from infra.tracking import address_of_figures
from tasks.contracts import DatasetVersion, DeployedSpace, EvaluationReport, GateDecision, Proof, PublishedModel, TrainedModel

_EVERY_S = 3.0  # each update is a call, and a row of the server's database
_ROWS = 50  # of a table of figures: the last ones; all of them are in Trackio and trainer_state.json
_DIGITS = 4
_log = logging.getLogger(__name__)


@contextmanager
def progress_shown() -> Iterator[None]:
    """Show what the work inside reports, one progress bar for each of its stages, and a table where it tells figures."""
    with listening(_Bars()), listening(_Tables()):
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


class _Tables:
    """The last figures of each stage, as a table that grows while it runs; they are told as often as the bars are."""

    def __init__(self) -> None:
        self._rows: dict[str, deque[dict[str, float | str]]] = {}
        self._tables: dict[str, UUID] = {}
        self._told: dict[str, float] = {}

    def __call__(self, progress: Progress) -> None:
        if not progress.figures:
            return
        stage, now = progress.stage, time.monotonic()
        self._add(progress)
        if now < self._told.get(stage, 0) + _EVERY_S and progress.done < progress.total:
            return
        self._told[stage] = now
        names = list(
            dict.fromkeys(name for row in self._rows[stage] for name in row)
        )  # the UI takes a table's columns from one row
        rows = [{name: row.get(name, "") for name in names} for row in self._rows[stage]]
        with _for_people():
            if stage in self._tables:
                with get_client(sync_client=True) as client:
                    client.update_artifact(self._tables[stage], ArtifactUpdate(data=json.dumps(rows)))
            else:
                described = f"{stage}: figures of the last {_ROWS} logged steps"
                self._tables[stage] = create_table_artifact(rows, key=f"{stage}-figures", description=described)  # type: ignore[assignment]

    def _add(self, progress: Progress) -> None:
        """What is measured at a step after other figures of it goes into their row."""
        rows = self._rows.setdefault(progress.stage, deque(maxlen=_ROWS))
        if not rows or rows[-1]["step"] != progress.done:
            rows.append({"step": progress.done})
        rows[-1] |= {name: _rounded(value) for name, value in progress.figures.items()}


def _rounded(value: float | None) -> float | str:
    return "not a number" if value is None else float(f"{value:.{_DIGITS}g}")


def _described(progress: Progress) -> str:
    return f"{progress.stage}: {progress.done} of {progress.total} {progress.note}".strip()


def show_dataset(dataset: DatasetVersion, refused: Mapping[str, int], warned: Mapping[str, int]) -> None:
    """What is in a dataset version, and how many inputs were refused, or kept with a warning, by kind."""
    by_kind = [{"what": f"refused: {kind}", "value": f"{number} inputs"} for kind, number in refused.items()]
    by_kind += [{"what": f"odd: {kind}", "value": f"{number} utterances"} for kind, number in warned.items()]
    rows = [
        {"what": "to train on", "value": f"{dataset.train_utterances} utterances"},
        {"what": "held out", "value": f"{dataset.eval_utterances} utterances"},
        {"what": "set aside", "value": f"{dataset.set_aside_utterances} utterances"},
        {"what": "refused", "value": f"{dataset.rejected} inputs: {dataset.folder / 'rejected.jsonl'}"},
        *by_kind,
        {"what": "length", "value": f"{dataset.hours:.2f} h"},
        {"what": "speakers", "value": str(dataset.speakers)},
        {"what": "languages", "value": ", ".join(dataset.languages)},
        {"what": "fingerprint", "value": dataset.fingerprint},
        {"what": "folder", "value": str(dataset.folder)},
    ]
    _table("dataset", rows, f"The dataset {dataset.name}")


def show_training(model: TrainedModel) -> None:
    """How a model learned: its curves, and what it took."""
    _image("loss", model.folder / "loss.png", f"Loss over {model.steps} steps, {model.train_seconds:.0f} s")
    rates = model.folder / "wer.png"
    if rates.is_file():
        _image("validation-wer", rates, f"Word error rate of what validates over {model.steps} steps")


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
    _image("wer", report.folder / "wer.png", f"Word error rates of {report.dataset.name}, before and after")
    _table(
        "evaluation", rows, f"{report.dataset.name} against {report.rival or report.model.base.label}; from and to: 95 % interval"
    )


def show_decision(decision: GateDecision) -> None:
    """What the gate says, and why."""
    verdict = "publish" if decision.publish else "do not publish"
    reasons = "\n".join(f"- {reason}" for reason in decision.reasons)
    with _for_people():
        create_markdown_artifact(f"## Gate: {verdict}\n\n{reasons}\n", key="gate", description=f"Gate: {verdict}")


def show_published(published: PublishedModel, pages: str) -> None:
    """Where a model and its card are, what it is worth, and where its figures are; `pages` is the address of the Hub's pages."""
    place, report = published.place, published.staged.report
    score, seen = report.target, "public" if place.public else "private"
    lines = [
        f"## {place.repository} {place.tag}",
        f"{seen}, on {place.hub}. WER on {report.dataset.name}: {score.wer_base.value:.1%} before, "
        f"{score.wer_tuned.value:.1%} after. {_proven(published.proofs)}",
        f"- [Model and card]({pages}/{place.repository}/tree/{place.tag})",
    ]
    if settings().tracking:
        lines.append(f"- [Figures of the training]({address_of_figures(settings())}?project={quote(report.dataset.name)})")
    with _for_people():
        create_markdown_artifact("\n\n".join(lines) + "\n", key="model", description=f"{place.repository} at {place.tag}")


def show_demo(demo: DeployedSpace) -> None:
    """That a demo serves the model, and how to open it."""
    command = f"voxfactory space {shlex.quote(str(demo.staged.folder.parent))} --open"
    with _for_people():
        create_markdown_artifact(
            f"## Demo of {demo.staged.name}\n\n{_proven(demo.proofs)}\n\n    {command}\n",
            key="demo",
            description=demo.staged.name,
        )


def _proven(proofs: Sequence[Proof]) -> str:
    return f"It heard {sum(proof.holds for proof in proofs)} of {len(proofs)} clips as evaluation did."


def _image(key: str, path: Path, description: str) -> None:
    """A picture, carried inside the artifact: the browser that looks sees no folder of ours."""
    encoded = base64.b64encode(path.read_bytes()).decode()
    with _for_people():
        create_image_artifact(f"data:image/png;base64,{encoded}", key=key, description=description)


def _table(key: str, rows: list[dict[str, Any]], description: str) -> None:
    with _for_people():
        create_table_artifact(rows, key=key, description=description)


@contextmanager
def _for_people() -> Iterator[None]:
    try:
        yield
    except (HTTPError, PrefectHTTPStatusError) as error:
        _log.warning("The Prefect server did not take an artifact: %s", error)
