"""The small frozen values that travel between tasks: JSON in, JSON out, references instead of arrays or models."""

from enum import StrEnum
from pathlib import Path
from typing import Literal

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


class Consent(StrEnum):
    """How far the speakers' consent reaches: private unless they said otherwise."""

    PRIVATE = "private"
    PUBLIC = "public"


class Refusal(StrEnum):
    """Why an input was refused, in words that may be published: they name no file and no text."""

    TOO_SHORT = "too short"
    TOO_LONG = "too long"
    SILENT = "silent"
    NO_SPEECH = "no speech in it"
    CLIPPED = "clipped"
    NOISY = "too noisy"
    NARROW = "narrow band"
    CUT_OFF = "cut off"
    NO_AUDIO = "no readable audio"
    MISSING = "audio file missing"
    OUTSIDE = "audio file outside the source"
    NO_TRANSCRIPT = "no transcript"
    UNREADABLE = "text not readable"
    LANGUAGE = "language missing or unknown"
    OTHER_LANGUAGE = "text of another language"
    PACE = "more or less text than can be said in the time"
    NUMERALS = "digits or symbols in the text"
    REPEATED = "repeated words"
    PRIVATE = "personal data in the text"
    CONSENT = "no consent"
    DUPLICATE = "equal to another utterance"
    NOT_ROWS = "no row of a manifest"
    OTHER = "another reason"


class Measurements(Contract):
    """What was measured in one utterance, on the samples as they are kept."""

    level_lufs: (
        float | None
    )  # integrated loudness (EBU R 128); None where the clip is too short for one block of 0.4 s, or silent
    peak_dbfs: float  # of the loudest sample
    clipped_share: float  # of the samples at the limit of the source's own range, of those not silent
    speech_s: float  # what Silero VAD takes for speech
    silence_share: float  # of the duration: what it does not
    snr_db: float | None  # power within speech over power between; None where there is no pause to measure the noise in
    bandwidth_hz: float  # the frequency under which 99.9 % of the power of speech lies
    characters_per_s: float  # letters and digits of the transcript over speech_s


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
    measured: Measurements | None = None  # None: brought in by a version that measured nothing
    warnings: tuple[str, ...] = ()  # what looked odd and was kept: "noisy: speech is only 6 dB above the noise"

    @property
    def warned_of(self) -> set[str]:
        """The kinds of its warnings, which may be published: they name no file and no text."""
        return {warning.partition(":")[0] for warning in self.warnings}


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
    eval_share: float | None = None  # None: made before it was written down
    division: str  # hash of the sorted (id, split): who stands on which side
    licence: str = "unknown"
    consent: str = "not recorded"
    consent_scope: Consent = Consent.PRIVATE
    parent: str | None = None  # fingerprint of the version of this name before

    @property
    def content_address(self) -> tuple[str, str]:
        """What training and transcription depend on: the data and how it is divided."""
        return (self.fingerprint, self.division)


class Method(StrEnum):
    """What is trained: low-rank adapters on the language model, or every weight."""

    LORA = "lora"
    FULL = "full"


class Form(StrEnum):
    """In which form a model is published: an adapter for its base, the adapter merged into it, or weights trained as a whole."""

    ADAPTER = "adapter"
    MERGED = "merged"
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


class Errors(Contract):
    """What one model did in one set: errors of words by kind, outputs that did not end by themselves, and that ran in circles."""

    substitutions: int
    deletions: int
    insertions: int
    endless: int
    loops: int = 0


class Score(Contract):
    """Base against tuned on the same utterances of one set and language. Rates are fractions: 0.05 is 5 %."""

    set_name: str
    language: str
    utterances: int
    words: int
    drawn: Literal["utterances", "speakers"]  # what was drawn again and again for the intervals
    wer_base: Interval
    wer_tuned: Interval
    wer_change: Interval  # tuned minus base, paired: below zero is better
    p_better: float  # share of draws in which the WER falls
    cer_base: float
    cer_tuned: float
    errors_base: Errors
    errors_tuned: Errors


class Silence(Contract):
    """What both models wrote where nobody speaks: words that they made up."""

    clips: int
    seconds: float
    words_base: int
    words_tuned: int

    @property
    def more_a_minute(self) -> float:
        """How many words more the tuned model writes in a minute."""
        return (self.words_tuned - self.words_base) * 60 / self.seconds


class Example(Contract):
    """One utterance as it is and as both models heard it."""

    set_name: str
    utterance_id: str
    audio_path: Path
    language: str
    reference: str
    base: str
    tuned: str


APPROVED = "approved by a person"  # begins a reason; what follows are the person's words


class GateDecision(Contract):
    """Publish or not, and every reason with its number."""

    publish: bool
    reasons: tuple[str, ...]
    more_utterances: int | None = None  # how many more to evaluate on might tell, where it is only that


class EvaluationReport(Contract):
    """What the tuned model does better and worse than the base; all hypotheses lie in `folder`."""

    folder: Path
    model: TrainedModel
    dataset: DatasetVersion  # the target: what the model was trained for
    guards: tuple[DatasetVersion, ...]
    rival: str | None = None  # what stands as `base` in every score, if it is not the model's own base
    scores: tuple[Score, ...]  # one a set, language "all", and one a language where a set has several
    silence: Silence | None = None  # None: of a version that did not listen to it
    examples: tuple[Example, ...]
    decision: GateDecision | None = None  # None: it was not brought to a gate

    def decided(self, decision: GateDecision) -> "EvaluationReport":
        """The same with what the gate says of it."""
        return self.model_copy(update={"decision": decision})

    @property
    def target(self) -> Score:
        """The score on the held-out utterances of the dataset that was trained for."""
        return next(score for score in self.scores if (score.set_name, score.language) == (self.dataset.name, "all"))

    @property
    def guard_scores(self) -> tuple[Score, ...]:
        """The scores on which the model may not get worse."""
        return tuple(score for score in self.scores if score.set_name != self.dataset.name)

    def known_clips(self, count: int) -> list[Example]:
        """Clips of the target set whose texts are known, those first on which base and tuned differ: they tell the two apart."""
        target = [example for example in self.examples if example.set_name == self.dataset.name]
        return sorted(target, key=lambda example: example.base == example.tuned)[:count]


class Duel(Contract):
    """Any two models on the same held-out utterances; in its scores the first stands as base, the second as tuned."""

    folder: Path
    first: str
    second: str
    dataset: DatasetVersion
    scores: tuple[Score, ...]


class StandingModel(Contract):
    """What is published under a name now, and from which data it was made."""

    repository: str
    revision: str
    dataset_fingerprint: str
    utterances: int
    adapter: bool

    @property
    def name(self) -> str:
        """As a checkpoint is named: id@revision."""
        return f"{self.repository}@{self.revision}"


class News(Contract):
    """What changed in a dataset since the published model, and whether it is worth another training."""

    new: int  # utterances
    gone: int
    enough: bool
    reason: str


class StagedModel(Contract):
    """A repository folder, ready to be uploaded as it is."""

    folder: Path
    name: str  # owner/name
    form: Form
    public: bool
    card: Path
    content_hash: str
    report: EvaluationReport


class StagedDataset(Contract):
    """A dataset version in the form that the Hub's clients load, ready to be uploaded as it is."""

    folder: Path
    name: str  # owner/name
    public: bool
    content_hash: str
    dataset: DatasetVersion


class RepositoryKind(StrEnum):
    """What a repository on a Hub holds."""

    MODEL = "model"
    DATASET = "dataset"


class Upload(Contract):
    """A folder that lies on a Hub, under a branch that nobody reads by default."""

    hub: str
    repository: str  # owner/name
    kind: RepositoryKind
    public: bool
    fingerprint: str  # of the folder's content
    branch: str | None  # None: main holds the same already
    revision: str  # the commit with the folder's content
    head: str  # the commit of main before


class HubRevision(Contract):
    """Where something was published: a commit of a Hub repository's main branch, under a tag."""

    hub: str
    repository: str
    kind: RepositoryKind
    public: bool
    revision: str
    tag: str
    new: bool  # False: the same was there already


class Proof(Contract):
    """Whoever serves the model was asked for a clip: what it said, what evaluation had heard, what the base model hears."""

    audio_path: Path
    reference: str
    expected: str
    answered: str
    base: str

    @property
    def holds(self) -> bool:
        """It says what was measured."""
        return self.answered == self.expected


class PublishedModel(Contract):
    """A model that was downloaded from where it was published, and answered as evaluation did."""

    staged: StagedModel
    place: HubRevision
    proofs: tuple[Proof, ...]


class PublishedDataset(Contract):
    """A dataset that was downloaded from where it was published, and is what was ingested."""

    staged: StagedDataset
    place: HubRevision


class DeployedSpace(Contract):
    """A demo that was started, asked, and answered as evaluation did."""

    folder: Path
    staged: StagedModel
    proofs: tuple[Proof, ...]


class FactoryResult(Contract):
    """What one run of the factory made; nothing is `published` and there is no `space` when the gate refused."""

    report: EvaluationReport
    duel: EvaluationReport | None = None  # against the gate's rival instead of the base
    decision: GateDecision
    published: tuple[PublishedModel, ...] = ()
    space: DeployedSpace | None = None


class RetrainingResult(Contract):
    """What retraining found, and what it made of it; nothing, if nothing was to be done."""

    news: News
    made: FactoryResult | None = None
