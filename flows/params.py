"""The parameters of the flows: the Prefect UI draws its forms from them, the command line fills them."""

from pathlib import Path

from pydantic import Field

from tasks.contracts import Contract
from tasks.dataset.ingest import IngestOptions
from tasks.evaluation.gate import GateRules
from tasks.publishing.stage import Publication
from tasks.training.options import TrainingOptions
from tasks.voxtral.tiny import TINY_NAME

__all__ = ["Gate", "Publication", "Source", "Training"]


class Source(Contract):
    """Where speech comes from."""

    path: Path = Field(description="A folder of audio with transcripts, or a manifest file.")
    name: str = Field("speech", description="What the dataset is called in reports and cards.")
    options: IngestOptions = Field(default_factory=IngestOptions, description="What ingestion does with it.")


class Training(Contract):
    """What is fine-tuned, and how."""

    base_model: str = Field(TINY_NAME, description="A Hub id, a folder, or voxfactory-tiny.")
    base_revision: str | None = Field(None, description="Branch, tag or commit of a Hub id; default: its main branch now.")
    options: TrainingOptions = Field(default_factory=TrainingOptions, description="Every knob of the run.")
    replay_guards: bool = Field(True, description="Mix in the training side of the guard sets, against forgetting.")


class Gate(Contract):
    """What a model must prove before it is published."""

    guard_sets: list[Source] = Field(default_factory=list, description="Speech on which the model may not get worse.")
    rules: GateRules = Field(default_factory=GateRules, description="By how much.")
    batch_size: int = Field(32, ge=1, description="Utterances transcribed at a time; memory grows with it.")
