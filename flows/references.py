"""What a flow is given by name: in the Prefect UI and from another machine a folder, in Python the value itself.

A folder is a path, or is relative to the home: `datasets/8734472fda2ba9bb`, as the commands print it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from infra.exchange import locate
from infra.settings import settings
from tasks.contracts import DatasetVersion, EvaluationReport, StagedModel, TrainedModel
from tasks.dataset.version import open_version
from tasks.evaluation.compare import open_report
from tasks.publishing.stage import open_staged
from tasks.training.launch import open_run


def _opened(open_folder: Callable[[Path], Any]) -> BeforeValidator:
    return BeforeValidator(lambda given: open_folder(locate(settings(), given)) if isinstance(given, str | Path) else given)


def _folder(description: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "format": "path", "description": description})


Dataset = Annotated[
    DatasetVersion, _opened(open_version), _folder("Folder of a dataset version: a path, or as ingest named it (datasets/...).")
]
Model = Annotated[
    TrainedModel, _opened(open_run), _folder("Folder of a finished training: a path, or as train named it (runs/...).")
]
Evaluation = Annotated[
    EvaluationReport, _opened(open_report), _folder("Folder of an evaluation: a path, or as evaluate named it (evaluations/...).")
]
Staged = Annotated[
    StagedModel, _opened(open_staged), _folder("Folder of a published model: a path, or as publish named it (published/...).")
]
