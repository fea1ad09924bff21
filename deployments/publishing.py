"""`voxfactory publish FOLDER`: what is in the folder decides what is published."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import EvaluationError, PublishingError

if TYPE_CHECKING:
    from flows.params import DatasetPublication, Publication
    from tasks.contracts import EvaluationReport, PublishedModel


def publish_model_folder(folder: Path, publication: "Publication", anyway: bool) -> None:
    """Publish the model of an evaluation, or of a run that was evaluated.

    Raises:
        EvaluationError: the folder is neither.
        PublishingError: the gate refuses.

    """
    from tasks.evaluation.gate import GateRules, decide

    report = find_report(folder)
    decision = decide(report, GateRules())
    if not decision.publish and not anyway:
        raise PublishingError(f"The gate refuses: {'; '.join(decision.reasons)}", "Train it better, or publish it --anyway")
    from deployments.running import run_flow
    from deployments.summary import print_published

    published = run_flow(lambda: _publish(report.decided(decision), publication))
    for one in published:
        print_published(one)
    sys.stdout.write(f"{published[0].staged.folder.parent}\n")


def publish_dataset_folder(folder: Path, publication: "DatasetPublication") -> None:
    """Publish a dataset version."""
    from deployments.running import run_flow
    from deployments.summary import print_place
    from tasks.dataset.version import open_version

    version = open_version(folder)

    def call() -> object:
        from flows.publish_dataset import publish_dataset

        return publish_dataset(version, publication)

    published = run_flow(call)
    print_place(published.place)  # type: ignore[attr-defined]


def find_report(folder: Path) -> "EvaluationReport":
    """The report of an evaluation folder, or the newest of a run folder.

    Raises:
        EvaluationError: the folder is neither, or the run was not evaluated.

    """
    from infra.settings import settings
    from tasks.evaluation.compare import open_report

    if not (folder / "train_results.json").is_file():
        return open_report(folder)
    reports = sorted(settings().folder("evaluations").glob("[!.]*/report.json"), key=lambda path: -path.stat().st_mtime)
    for path in reports:
        report = open_report(path.parent)
        if report.model.folder == folder:
            return report
    raise EvaluationError(f"{folder} was not evaluated", f"Run `voxfactory evaluate {folder} DATASET` first")


def _publish(report: "EvaluationReport", publication: "Publication") -> "tuple[PublishedModel, ...]":
    from flows.publish import publish

    return publish(report, publication)
