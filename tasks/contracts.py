"""The small frozen values that travel between tasks: JSON in, JSON out, references instead of arrays or models."""

from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict

SAMPLE_RATE_HZ = 16_000  # of every clip after ingestion, and of every Voxtral checkpoint


class Contract(BaseModel):
    """Frozen, strict about its keys, and never given a name that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Split(StrEnum):
    """Which side of the experiment an utterance stands on."""

    TRAIN = "train"
    EVAL = "eval"
    SET_ASIDE = "set-aside"  # in neither: its prompt is read on the other side, and using it would leak


class Utterance(Contract):
    """One clip and what is said in it; one line of data.jsonl.

    `id` is the hash of audio and text, `audio_hash` that of the 16 kHz samples alone, so equal speech is found whatever its file.
    """

    id: str
    audio_path: str  # relative to the dataset folder
    text: str
    language: str
    duration_s: float
    audio_hash: str
    speaker: str | None = None
    source: str = "upload"
    split: Split = Split.TRAIN


class DatasetVersion(Contract):
    """A dataset folder on disk: data.jsonl, rejected.jsonl, wavs/, dataset.json, README.md."""

    folder: Path
    name: str
    fingerprint: str  # hash of the sorted (audio hash, text, language)
    train_utterances: int
    eval_utterances: int
    set_aside_utterances: int
    rejected: int
    hours: float
    speakers: int
    languages: tuple[str, ...]
    split_rule: str
    seed: int
    division: str  # hash of the sorted (id, split): who stands on which side
    licence: str = "unknown"
    consent: str = "not recorded"
    parent: str | None = None

    @property
    def content_address(self) -> tuple[str, str]:
        """What training and transcription depend on: the data and how it is divided."""
        return (self.fingerprint, self.division)


class Method(StrEnum):
    """What is trained: low-rank adapters on the language model, or every weight."""

    LORA = "lora"
    FULL = "full"


class Checkpoint(Contract):
    """A Voxtral checkpoint on this machine, and exactly which one: a Hub commit, or the hash of its files.

    A full model, or a LoRA adapter with the very base that it was trained on.
    """

    name: str  # `voxfactory-tiny`, a Hub id, or an absolute folder
    folder: Path
    revision: str
    base: "Checkpoint | None" = None

    @property
    def is_adapter(self) -> bool:
        """Whether the folder holds a LoRA adapter, which needs its base model."""
        return (self.folder / "adapter_config.json").is_file()

    @property
    def label(self) -> str:
        """The name as it may be shown: a folder without the path to it."""
        return Path(self.name).name if Path(self.name).is_absolute() else self.name


class TrainedModel(Contract):
    """A training run's folder: best-model/, final-model/, checkpoint-N/, the results and the configuration as JSON."""

    folder: Path
    base: Checkpoint
    method: Method
    dataset_fingerprint: str
    weights_hash: str
    steps: int
    train_loss: float
    train_seconds: float

    @property
    def checkpoint(self) -> Checkpoint:
        """The weights to evaluate and to publish."""
        best = self.folder / "best-model"
        base = self.base if self.method is Method.LORA else None
        return Checkpoint(name=str(best), folder=best, revision=self.weights_hash, base=base)


class Interval(Contract):
    """A figure with its 95 % confidence interval."""

    value: float
    low: float
    high: float


class Score(Contract):
    """Base against tuned on the same utterances of one set and language. Rates are fractions: 0.05 is 5 %."""

    set_name: str
    language: str
    utterances: int
    words: int
    wer_base: Interval
    wer_tuned: Interval
    wer_change: Interval  # tuned minus base, paired: below zero is better
    cer_base: float
    cer_tuned: float


class Example(Contract):
    """One utterance as it is and as both models heard it."""

    set_name: str
    utterance_id: str
    audio_path: Path
    language: str
    reference: str
    base: str
    tuned: str


class EvaluationReport(Contract):
    """What the tuned model does better and worse than the base; all hypotheses lie in `folder`."""

    folder: Path
    model: TrainedModel
    dataset: DatasetVersion  # the target: what the model was trained for
    guards: tuple[DatasetVersion, ...]
    scores: tuple[Score, ...]  # one a set, language "all", and one a language where a set has several
    examples: tuple[Example, ...]

    @property
    def target(self) -> Score:
        """The score on the held-out utterances of the dataset that was trained for."""
        return next(score for score in self.scores if (score.set_name, score.language) == (self.dataset.name, "all"))

    @property
    def guard_scores(self) -> tuple[Score, ...]:
        """The scores on which the model may not get worse."""
        return tuple(score for score in self.scores if score.set_name != self.dataset.name)


class GateDecision(Contract):
    """Publish or not, and every reason with its number."""

    publish: bool
    reasons: tuple[str, ...]


class StagedModel(Contract):
    """A repository folder, ready to be uploaded as it is."""

    folder: Path
    name: str
    card: Path
    content_hash: str
    report: EvaluationReport


class SpaceProof(Contract):
    """The demo was asked through its own API; what it said, what evaluation had heard, what the base model hears."""

    audio_path: Path
    reference: str
    expected: str
    answered: str
    base: str

    @property
    def holds(self) -> bool:
        """The demo says what was measured."""
        return self.answered == self.expected


class DeployedSpace(Contract):
    """A demo that was started, asked, and answered as evaluation did."""

    folder: Path
    staged: StagedModel
    proofs: tuple[SpaceProof, ...]


class FactoryResult(Contract):
    """What one run of the factory made; `staged` and `space` are absent when the gate refused."""

    report: EvaluationReport
    decision: GateDecision
    staged: StagedModel | None = None
    space: DeployedSpace | None = None
