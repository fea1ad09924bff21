"""Every setting of the factory, once. Environment variables `VOXFACTORY_...` or `.env`; flow parameters override for one run.

Read once per process by `settings()`; nothing else reads the environment.
"""

import os
from functools import lru_cache
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.errors import HomeError, SettingsError


class Settings(BaseSettings):
    """Where the factory keeps its things, and what of the machine it may use."""

    model_config = SettingsConfigDict(env_prefix="VOXFACTORY_", env_file=".env", extra="ignore", frozen=True)

    home: Path = Field(Path(".voxfactory"), description="Datasets, runs, caches and the Prefect database live here.")
    prefect_api_url: str = Field(
        "http://127.0.0.1:4200/api",
        description="The Prefect server. When none answers here, a command starts one for its own time.",
    )
    processes: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, description="Worker processes for audio and synthesis."
    )
    space_timeout_s: float = Field(180.0, gt=0, description="How long a demo may take to start before it counts as failed.")

    def folder(self, name: str) -> Path:
        """An existing folder of the home: datasets, runs, evaluations, published, prefect.

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
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"VOXFACTORY_{'_'.join(str(part) for part in first['loc'])}".upper()
        raise SettingsError(f"{name}={first['input']!r}: {first['msg']}", f"Correct {name} or unset it") from error
