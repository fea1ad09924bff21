"""The repository folder of a model: what is uploaded, complete and free of what must not be."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from pydantic import Field

from infra.errors import PublishingError
from infra.storage import content_hash, new_folder, readable, write_json, write_text
from tasks.contracts import Contract, EvaluationReport, Form, HubRevision, Method, StagedModel
from tasks.dataset.export import RepositoryName
from tasks.publishing.card import Links, model_card
from tasks.publishing.screening import MANIFEST, finish, private_words
from tasks.voxtral.merge import merge_adapter, split_weights
from tasks.voxtral.tiny import TINY_NAME, tiny_model_folder

STAGE_VERSION = 7  # raise it when equal input would give another folder: it is part of the address
_RESULTS = ("training_config.json", "train_results.json", "loss.png")
_EVALUATION = ("eval_results.json", "wer.png")
_MODEL_FILES = (
    *"config.json generation_config.json processor_config.json preprocessor_config.json tekken.json chat_template.jinja".split(),
    *"model*.safetensors model.safetensors.index.json adapter_config.json adapter_model.safetensors training_log.json".split(),
)
_ALLOWED = (*_MODEL_FILES, *_RESULTS, *_EVALUATION, "README.md", MANIFEST)
_NEEDED = ("config.json", "tekken.json", "processor_config.json")
_WEIGHTS = {Form.FULL: "model*.safetensors", Form.MERGED: "model*.safetensors", Form.ADAPTER: "adapter_model.safetensors"}


class Publication(Contract):
    """Under which name and terms a model is published."""

    name: RepositoryName = Field("voxtral-fine-tuned", description="Repository: name, or owner/name.")
    licence: str = Field("unknown", description="Licence of the model, as the Hub names it; it is yours to choose.")
    forms: tuple[Form, ...] = Field(
        (Form.ADAPTER,),
        min_length=1,
        description="How a LoRA model is published: its adapter, merged into its base, or both. The second form gets -adapter or "
        "-merged after its name. Full fine-tuning has one form.",
    )
    public: bool = Field(False, description="Let everyone see it. Private unless you say so.")

    def forms_of(self, method: Method) -> tuple[Form, ...]:
        """The forms that a model trained so is published in, the first under the bare name."""
        return (Form.FULL,) if method is Method.FULL else tuple(dict.fromkeys(self.forms))


def stage_address(report: EvaluationReport, publication: Publication, form: Form, data: HubRevision | None = None) -> str:
    """Where the staged folder lies: equal weights, figures and terms, equal folder."""
    sets = [version.model_dump(mode="json", exclude={"folder"}) for version in (report.dataset, *report.guards)]
    linked = _may_be_linked(data, publication)
    place = [linked.repository, linked.revision] if linked else None
    return content_hash(
        STAGE_VERSION,
        report.model.weights_hash,
        sets,
        list(report.scores),
        report.silence,
        report.decision,
        publication,
        form,
        place,
    )[:16]


def _may_be_linked(data: HubRevision | None, publication: Publication) -> HubRevision | None:
    """The published dataset, unless a public card would tell the name of a private one."""
    return data if data and (data.public or not publication.public) else None


def stage(
    report: EvaluationReport, publication: Publication, form: Form, folder: Path, data: HubRevision | None = None
) -> StagedModel:
    """Assemble and check `folder`/repository; `folder`/staged.json describes it. The publication's name is owner/name.

    Args:
        report: of the model.
        publication: its terms.
        form: one that the model has.
        folder: where.
        data: where the dataset is published, if it is.

    Raises:
        PublishingError: something is missing, or a file must not be published.

    """
    forms, data = publication.forms_of(report.model.method), _may_be_linked(data, publication)
    name, repository = _name(publication, forms, form), folder / "repository"
    links = Links(
        sibling=next((_name(publication, forms, other) for other in forms if other is not form), None),
        base_repository=shipped_base_repository(name, report) if form is Form.ADAPTER else None,
        dataset_repository=data.repository if data else None,
        dataset_revision=data.revision if data else None,
    )
    with new_folder(repository) as unfinished:
        _put_weights(report, form, links, unfinished)
        copy_named(report.model.folder, _RESULTS, unfinished)
        copy_named(report.folder, _EVALUATION, unfinished)
        write_text(unfinished / "README.md", model_card(name, report, publication.licence, form, links))
        content = finish(unfinished, _ALLOWED, private_words(name, *_places(report)))
        missing = [needed for needed in (*_NEEDED, _WEIGHTS[form]) if not any(unfinished.glob(needed))]
        if missing:
            raise PublishingError(f"The model in {report.model.checkpoint.folder} lacks {', '.join(missing)}", "Train it again")
    card = repository / "README.md"
    staged = StagedModel(
        folder=repository, name=name, form=form, public=publication.public, card=card, content_hash=content, report=report
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


def shipped_base_repository(name: str, report: EvaluationReport) -> str | None:
    """Where the base of the adapter owner/name is published beside it: the tiny model is on no Hub but with us.

    Raises:
        PublishingError: the base lies in a folder of this machine, where nobody else finds it.

    """
    base = report.model.base
    if base.name == TINY_NAME:
        return f"{name.rpartition('/')[0]}/{TINY_NAME}"
    if Path(base.name).is_absolute() and report.model.method is Method.LORA:
        raise PublishingError(
            f"An adapter of {base.label} is of no use to others: its base lies in a folder of this machine",
            "Publish it merged (--form merged), or train on a base that is on the Hub",
        )
    return None


def stage_shipped_base(folder: Path) -> str:
    """The tiny model as a repository folder, for adapters of it; the hash of its content."""
    with new_folder(folder) as unfinished:
        shutil.copytree(tiny_model_folder(), unfinished, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        if not (unfinished / "README.md").is_file():
            write_text(unfinished / "README.md", _BASE_CARD)
        return finish(unfinished, _ALLOWED, ())


def copy_named(source: Path, names: Iterable[str], folder: Path) -> None:
    """Copy files that must be there.

    Raises:
        PublishingError: one is not.

    """
    for name in names:
        if not (source / name).is_file():
            raise PublishingError(f"{source} lacks {name}", "Train and evaluate the model again")
        shutil.copy2(source / name, folder)


def _name(publication: Publication, forms: tuple[Form, ...], form: Form) -> str:
    return publication.name if form is forms[0] else f"{publication.name}-{form}"


def _places(report: EvaluationReport) -> list[Path]:
    return [
        report.folder,
        report.model.folder,
        report.model.base.folder,
        *(version.folder for version in (report.dataset, *report.guards)),
    ]


def _put_weights(report: EvaluationReport, form: Form, links: Links, folder: Path) -> None:
    if form is Form.MERGED:
        merge_adapter(report.model.checkpoint, folder)
        return
    shutil.copytree(report.model.checkpoint.folder, folder, dirs_exist_ok=True)
    split_weights(folder)
    if links.base_repository:
        path = folder / "adapter_config.json"
        write_json(path, json.loads(path.read_text()) | {"base_model_name_or_path": links.base_repository, "revision": None})


_BASE_CARD = f"""---
license: apache-2.0
library_name: transformers
pipeline_tag: automatic-speech-recognition
language: [en, es, it, nl]
tags: [voxtral, speech-recognition, voxfactory]
---

# {TINY_NAME}

A real Voxtral of 2.8 M parameters with windows of 4 s, trained from random weights on digits read by synthetic voices in English,
Spanish, Italian and Dutch. It is the base of adapters that show and test VoxFactory; it is no speech recogniser.
`training_log.json` tells how it was made and how well it hears.
"""
