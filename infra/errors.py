"""VoxFactoryError and its children: what was wrong, where, and what to do, on one line.

The command line prints the message and exits with `exit_code`; a traceback of one of these is never shown to a user.
"""


class VoxFactoryError(Exception):
    """The root of every error that the factory raises on purpose.

    Args:
        problem: what was wrong, with the offending value.
        fix: what the reader can do about it.

    """

    exit_code = 2

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem, fix)  # both, so that the error survives pickling between processes
        self.problem = problem
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.problem}. {self.fix}."


class SettingsError(VoxFactoryError):
    """A setting is missing, malformed, or in conflict with another one; found before any work begins."""


class HomeError(VoxFactoryError):
    """VOXFACTORY_HOME cannot be written, or its disk is full."""


class SpeechError(VoxFactoryError):
    """One clip or its transcript cannot be used; ingestion writes it to rejected.jsonl and goes on."""


class DatasetError(VoxFactoryError):
    """A source or a dataset version as a whole cannot be used."""


class ModelError(VoxFactoryError):
    """A checkpoint is missing, is no Voxtral, or does not fit what is asked of it."""


class HubUnreachable(VoxFactoryError):
    """The Hub did not answer, or answered that it cannot now; another attempt may succeed."""


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


class ServerError(VoxFactoryError):
    """No Prefect server answers, and none could be started."""
