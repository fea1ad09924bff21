"""Every setting of the factory, once. Environment variables `VOXFACTORY_...` or `.env`; flow parameters override for one run.

Read once per process by `settings()`; nothing else reads the environment.
"""

import os
from functools import lru_cache
from pathlib import Path

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.accelerate import CONFIGURATIONS, configuration_file
from infra.errors import HomeError, SettingsError
from infra.redaction import remember

PUBLIC_HUB = "https://huggingface.co"


class Watched(BaseModel):
    """A dataset of a Hub that is retrained on when it changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", description="owner/name")
    language: str | None = Field(None, description="ISO 639-1 code of rows that name none.")
    model: str | None = Field(None, description="Repository of the model; default: voxtral-<name of the dataset>.")

    @property
    def model_name(self) -> str:
        """The repository of the model."""
        return self.model or f"voxtral-{self.repository.rpartition('/')[2]}"


class Settings(BaseSettings):
    """Where the factory keeps its things, and what of the machine it may use."""

    model_config = SettingsConfigDict(
        env_prefix="VOXFACTORY_", env_file=".env", extra="ignore", frozen=True, populate_by_name=True
    )

    home: Path = Field(Path(".voxfactory"), description="Datasets, runs, caches and the Prefect database live here.")
    prefect_api_url: str = Field(
        "http://127.0.0.1:4200/api",
        description="The Prefect server. When none answers here, a command starts one for its own time.",
    )
    prefect_auth: SecretStr | None = Field(
        None, description="user:password of the Prefect server, if it wants one. `voxfactory up` makes one by itself."
    )
    processes: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, description="Worker processes for audio and synthesis."
    )
    transcription_processes: int | None = Field(
        None,
        ge=1,
        description="Processes that transcribe in evaluation, each with the whole model. Default: one for each GPU, or one without a GPU.",
    )
    cache_gb: float = Field(
        50.0,
        ge=0,
        description="How many GB of the home trainings may fill with features, so that no run computes them again; 0: none.",
    )
    hub_endpoint: str | None = Field(
        None,
        validation_alias=AliasChoices("VOXFACTORY_HUB_ENDPOINT", "HF_ENDPOINT"),
        description="The Hub to publish to, or `local`: the one in the home, which it also is without an endpoint and without a token.",
    )
    hub_token: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("VOXFACTORY_HUB_TOKEN", "HF_TOKEN"),
        description="Access token with write rights; without it, the one that `hf auth login` stored.",
    )
    hub_read_token: SecretStr | None = Field(
        None, description="Access token that only reads, for what only reads: verification, demos. Default: the one that writes."
    )
    hub_port: int = Field(4280, ge=1, le=65535, description="Where `voxfactory hub` serves the local Hub, on loopback.")
    hub_user: str = Field("local", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="Who owns what is on the local Hub.")
    hub_timeout_s: float = Field(120.0, gt=0, description="How long a Hub may be silent in the middle of a call.")
    publish_private_voices: bool = Field(
        False, description="The second yes to publishing in public what was made from voices whose consent is private."
    )
    watch: tuple[Watched, ...] = Field(
        (),
        description='Datasets of a Hub to retrain on when they change, as JSON: [{"repository": "owner/name", "language": "de"}].',
    )
    settle_s: float = Field(
        60.0, ge=0, description="Retraining waits until a dataset has not changed for so long: 0, or at least 10 s."
    )
    schedules: bool = Field(False, description="Retrain every Monday, and look at the watched datasets every 15 minutes.")
    webhook_secret: SecretStr | None = Field(None, description="What a Hub sends with each delivery to `voxfactory webhook`.")
    webhook_port: int = Field(4281, ge=1, le=65535, description="Where `voxfactory webhook` listens.")
    host: str = Field("127.0.0.1", description="On which address `voxfactory up` and `voxfactory webhook` listen.")
    gpu_pool: bool = Field(
        False, description="Training and evaluation of a factory run go to the gpu work pool as deployments of their own."
    )
    exchange: str | None = Field(
        None,
        description="fsspec URL of a storage that all machines see, such as s3://bucket/voxfactory, if they do not share a home.",
    )
    database_url: SecretStr | None = Field(
        None,
        description="Postgres for the Prefect server of `voxfactory up`: postgresql+asyncpg://... Default: SQLite in the home.",
    )
    notification_block: str | None = Field(
        None, description="A notification block of Prefect that is told of failures and publications: type-slug/name."
    )
    space_timeout_s: float = Field(180.0, gt=0, description="How long a demo may take to start before it counts as failed.")
    grid_g_co2_per_kwh: float | None = Field(
        None,
        ge=0,
        description="Grams of CO2 equivalent a kWh costs where training runs; without it no card speaks of carbon.",
    )

    accelerate: str | None = Field(
        None,
        description="How training is launched: cpu, gpu, ddp (all GPUs), fsdp (a model divided among them), or a file of accelerate's. "
        "Default: one process, on one GPU if there is one.",
    )
    training_processes: int | None = Field(
        None, ge=1, description="Number of training processes, instead of what that configuration says."
    )

    tracking: bool = Field(True, description="Record the figures of every training with Trackio, in the home.")
    trackio_port: int = Field(4282, ge=1, le=65535, description="Where `voxfactory up` shows them, on loopback.")
    trackio_space: str | None = Field(
        None,
        pattern=r"^[\w.-]+/[\w.-]+$",
        description="owner/name of a Space on huggingface.co that they are sent to instead. It is made, and gets the token as a secret.",
    )
    trackio_public: bool = Field(False, description="That Space may be public.")

    @field_validator("accelerate")
    @classmethod
    def _is_a_configuration(cls, name: str | None) -> str | None:
        if name is not None and not configuration_file(name).is_file():
            raise ValueError(f"neither a file nor one of {', '.join(CONFIGURATIONS)}")
        return name

    @field_validator("training_processes")
    @classmethod
    def _are_launched(cls, processes: int | None, others: ValidationInfo) -> int | None:
        if processes is not None and processes > 1 and others.data.get("accelerate") is None:
            raise ValueError("several processes are launched by accelerate: set VOXFACTORY_ACCELERATE too, to ddp for instance")
        return processes

    @field_validator("trackio_space")
    @classmethod
    def _is_on_the_public_hub(cls, space: str | None, others: ValidationInfo) -> str | None:
        """Trackio sends figures, and the token, to owner-name.hf.space whatever Hub is configured."""
        endpoint = others.data.get("hub_endpoint")
        if space and endpoint and endpoint.rstrip("/") != PUBLIC_HUB:
            raise ValueError(f"VOXFACTORY_HUB_ENDPOINT is {endpoint}, and Trackio knows Spaces of {PUBLIC_HUB} only")
        return space

    def folder(self, name: str) -> Path:
        """An existing folder of the home: datasets, cache, runs, evaluations, published, prefect.

        Raises:
            HomeError: the home cannot be written.

        """
        path = self.home.expanduser().resolve() / name
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(path, error) from error
        if not os.access(path, os.W_OK):
            raise _unwritable(path, PermissionError("permission denied"))
        return path


def _unwritable(path: Path, error: OSError) -> HomeError:
    reason = error.strerror or str(error)
    return HomeError(f"{path} cannot be written: {reason}", "Set VOXFACTORY_HOME to a folder that you may write")


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process.

    Raises:
        SettingsError: a variable has a value that it cannot have; names the variable.

    """
    try:
        read = Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"VOXFACTORY_{'_'.join(str(part) for part in first['loc']).removeprefix('VOXFACTORY_')}".upper()
        given = "" if "TOKEN" in name else f"={first['input']!r}"
        raise SettingsError(f"{name}{given}: {first['msg']}", f"Correct {name} or unset it") from error
    remember(*(value for _, value in read if isinstance(value, SecretStr)))
    return read
