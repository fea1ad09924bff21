"""The parameters of the flows: the Prefect UI draws its forms from them, the command line fills them."""

from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from tasks.contracts import Contract, StandingModel
from tasks.dataset.export import DatasetPublication
from tasks.dataset.ingest import IngestOptions
from tasks.dataset.news import Retraining
from tasks.evaluation.gate import GateRules
from tasks.publishing.stage import Publication
from tasks.training.options import TrainingOptions
from tasks.voxtral.tiny import TINY_NAME

__all__ = ["DatasetPublication", "Gate", "Publication", "Retraining", "Source", "Training"]


class Source(Contract):
    """Where speech comes from: a folder or manifest of this machine, or a dataset of a Hub."""

    path: Path | None = Field(None, description="A folder of audio with transcripts, or a manifest file. Or name a repository.")
    repository: str = Field("", description="A dataset of a Hub, owner/name. Or name a path.")
    revision: str | None = Field(None, description="Branch, tag or commit of the repository; default: its main branch now.")
    name: str = Field(
        "speech", description="What the dataset is called in reports and cards; default for a repository: its name."
    )
    options: IngestOptions = Field(default_factory=IngestOptions, description="What ingestion does with it.")

    @model_validator(mode="before")
    @classmethod
    def _named_as_its_repository(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("repository") and not given.get("name"):
            return given | {"name": str(given["repository"]).rpartition("/")[2]}
        return given

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) is not bool(self.repository):
            raise ValueError("name either a path or a repository")
        if self.revision and not self.repository:
            raise ValueError("a revision is one of a repository: name that, too")
        return self


class Training(Contract):
    """What is fine-tuned, and how."""

    base_model: str = Field(TINY_NAME, description="A Hub id, a folder, or voxfactory-tiny.")
    base_revision: str | None = Field(None, description="Branch, tag or commit of a Hub id; default: its main branch now.")
    options: TrainingOptions = Field(default_factory=TrainingOptions, description="Every knob of the run.")
    warm_start: str | None = Field(
        None,
        description="Go on from this adapter (Hub id, id@revision, or folder) instead of from a fresh one: method=lora, same base.",
    )
    replay_guards: bool = Field(True, description="Mix in the training side of the guard sets, against forgetting.")

    def going_on_from(self, standing: StandingModel | None, retraining: Retraining) -> "Training":
        """The same, from the published adapter if that was asked for and there is one."""
        if standing is None or not (standing.adapter and retraining.warm_start):
            return self
        return self.model_copy(update={"warm_start": standing.name})


class Gate(Contract):
    """What a model must prove before it is published."""

    guard_sets: list[Source] = Field(default_factory=list, description="Speech on which the model may not get worse.")
    rival: str | None = Field(
        None, description="A model that must be beaten, too: Hub id, id@revision, or folder. Retraining names the published one."
    )
    rules: GateRules = Field(default_factory=GateRules, description="By how much.")
    batch_size: int = Field(32, ge=1, description="Utterances transcribed at a time; memory grows with it.")
    approval: bool = Field(False, description="What the gate lets through waits for a person's yes in the Prefect UI.")
    approval_timeout_h: float = Field(72.0, gt=0, description="Hours after which an unanswered question is a no.")

    def against(self, standing: StandingModel | None) -> "Gate":
        """The same, with the published model as a rival."""
        return self.model_copy(update={"rival": standing.name}) if standing else self
