"""VoxFactoryError and its children: what was wrong, where, and what to do, on one line.

The command line prints the message and exits with `exit_code`; a traceback of one of these is never shown to a user.
"""

from infra.redaction import redacted


class VoxFactoryError(Exception):
    """The root of every error that the factory raises on purpose.

    Args:
        problem: what was wrong, with the offending value.
        fix: what the reader can do about it.

    """

    exit_code = 2

    def __init__(self, problem: str, fix: str) -> None:
        self.problem, self.fix = redacted(problem), redacted(fix)
        super().__init__(self.problem, self.fix)  # both, so that the error survives pickling between processes

    def __str__(self) -> str:
        return f"{self.problem}. {self.fix}."


class SettingsError(VoxFactoryError):
    """A setting is missing, malformed, or in conflict with another one; found before any work begins."""


class HomeError(VoxFactoryError):
    """VOXFACTORY_HOME cannot be written, or its disk is full."""


class SpeechError(VoxFactoryError):
    """One clip or its transcript cannot be used; ingestion writes it to rejected.jsonl and goes on.

    `kind` says of which kind the refusal is, in words that name no file and no text: they may be published.
    """

    def __init__(self, problem: str, fix: str, kind: str = "another reason") -> None:
        super().__init__(problem, fix)
        self.kind = kind
        self.args = (self.problem, self.fix, kind)  # what pickling hands to the constructor


class DatasetError(VoxFactoryError):
    """A source or a dataset version as a whole cannot be used."""


class WorkerLost(VoxFactoryError):
    """A worker process was killed from outside (memory); another attempt may succeed."""


class ModelError(VoxFactoryError):
    """A checkpoint is missing, is no Voxtral, or does not fit what is asked of it."""


class HubUnreachable(VoxFactoryError):
    """The Hub did not answer, or answered that it cannot now; another attempt may succeed, after `retry_after_s` if it said so."""

    retry_after_s = 0.0


class HubError(VoxFactoryError):
    """The Hub answered and refuses: the token, the right to write, a name or tag that is taken, a quota."""


class HubMoved(HubError):
    """Somebody else committed meanwhile; another attempt, on top of theirs, may succeed."""


class TrainingError(VoxFactoryError):
    """The training process failed."""


class TrainingLost(TrainingError):
    """The training process was killed from outside (memory, a lost worker): another attempt goes on from the last checkpoint."""


class TrainingInterrupted(TrainingError):
    """Training was asked to stop; a checkpoint was written and the same command goes on from it."""

    exit_code = 130


class EvaluationError(VoxFactoryError):
    """An evaluation cannot be computed from what was given."""


class PublishingError(VoxFactoryError):
    """A staged repository is incomplete or contains what must not be published."""


class SpaceError(VoxFactoryError):
    """The demo did not start, or does not serve the model that was published."""


class SpaceDidNotStart(SpaceError):
    """The demo's process ended or did not answer in time; another attempt may find a free port or more memory."""


class ExchangeError(VoxFactoryError):
    """What another machine made, or was to make, does not arrive: the storage that both should see is not the same, or fails."""


class StageError(VoxFactoryError):
    """A stage that was sent to another machine ended badly there."""


class WebhookError(VoxFactoryError):
    """A delivery of a webhook is forged, too large, or none of ours."""


class ServerError(VoxFactoryError):
    """No Prefect server answers, and none could be started."""
