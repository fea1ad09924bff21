"""The repository folder of a model: what would be uploaded, complete and free of what must not be.

Only listed files go in. No optimizer state, no checkpoint, no path of the machine that made it.
"""

import re
import shutil
from pathlib import Path

from pydantic import Field

from infra.errors import PublishingError
from infra.storage import content_hash, folder_hash, new_folder, readable, write_json, write_text
from tasks.contracts import Contract, EvaluationReport, Method, StagedModel, TrainedModel
from tasks.publishing.card import model_card

STAGE_VERSION = 2  # raise it when equal input would give another folder: it is part of the address
_RESULTS = ("training_config.json", "train_results.json", "loss.png")
_EVALUATION = ("eval_results.json", "wer.png")
_NEEDED = ("config.json", "tekken.json", "processor_config.json")
_WEIGHTS = {Method.FULL: "model*.safetensors", Method.LORA: "adapter_model.safetensors"}
_TEXT_SUFFIXES = {".json", ".md", ".jsonl", ".txt"}
_TOKEN = re.compile(r"hf_[A-Za-z0-9]{30,}")


class Publication(Contract):
    """Under which name and terms a model is published."""

    name: str = Field(
        "voxtral-fine-tuned",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9._-]+)?$",
        description="Repository: name, or owner/name.",
    )
    licence: str = Field("apache-2.0", description="Licence of the model, as the Hub names it.")


def stage_address(report: EvaluationReport, publication: Publication) -> str:
    """Where the staged folder lies: equal weights, figures and terms, equal folder."""
    made = [report.model.weights_hash, report.dataset.model_dump(mode="json", exclude={"folder"}), list(report.scores)]
    return content_hash(STAGE_VERSION, made, publication)[:16]


def stage(report: EvaluationReport, publication: Publication, folder: Path) -> StagedModel:
    """Assemble and check `folder`/repository; `folder`/staged.json describes it.

    Raises:
        PublishingError: something is missing, or a file holds a path of this machine or a token.

    """
    model, repository = report.model, folder / "repository"
    with new_folder(repository) as unfinished:
        shutil.copytree(model.checkpoint.folder, unfinished, dirs_exist_ok=True)
        _copy(model.folder, _RESULTS, unfinished)
        _copy(report.folder, _EVALUATION, unfinished)
        write_text(unfinished / "README.md", model_card(publication.name, report, publication.licence))
        _check(unfinished, model)
        content = folder_hash(unfinished)
    staged = StagedModel(
        folder=repository, name=publication.name, card=repository / "README.md", content_hash=content, report=report
    )
    write_json(folder / "staged.json", staged)
    return staged


def open_staged(folder: Path) -> StagedModel:
    """Read what `stage` left in a folder.

    Raises:
        PublishingError: nothing was staged there.

    """
    path = folder / "staged.json"
    if not path.is_file():
        raise PublishingError(f"{folder} holds no staged.json", "Name a folder that `voxfactory publish` printed")
    with readable(path, PublishingError):
        return StagedModel.model_validate_json(path.read_text())


def _copy(source: Path, names: tuple[str, ...], folder: Path) -> None:
    for name in names:
        if not (source / name).is_file():
            raise PublishingError(f"{source} lacks {name}", "Train and evaluate the model again")
        shutil.copy2(source / name, folder)


def _check(folder: Path, model: TrainedModel) -> None:
    missing = [name for name in (*_NEEDED, _WEIGHTS[model.method]) if not any(folder.glob(name))]
    if missing:
        raise PublishingError(f"The model in {model.checkpoint.folder} lacks {', '.join(missing)}", "Train it again")
    private = [str(model.folder.parent.parent), str(model.base.folder.parent)]  # the factory's home, where the base lies
    for path in folder.iterdir():
        if path.suffix not in _TEXT_SUFFIXES:
            continue
        text = path.read_text(encoding="utf-8")
        leaks_path = any(folder in text for folder in private)
        if leaks_path or _TOKEN.search(text):
            found = "a path of this machine" if leaks_path else "an access token"
            raise PublishingError(f"{path.name} holds {found}", "Remove it from the run's options and train again")
