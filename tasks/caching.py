"""When a task need not run again: its result lies inside the artefact that it describes.

A stage writes its artefact to `VOXFACTORY_HOME/<kind>/<address>/`, where the address is the hash of everything that makes it: content
hashes, resolved revisions, options, a version constant; never paths, times or "main". Prefect keeps the task's result as
`.result.json` in that same folder, because results are stored under VOXFACTORY_HOME. Delete the folder, and artefact and result are
gone together: the next run makes both again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect.cache_policies import CachePolicy
from prefect.context import TaskRunContext

from infra.settings import settings


@dataclass
class ByAddress(CachePolicy):
    """Cache key of a stage: `<kind>/<address>/.result.json`.

    Args:
        kind: folder of VOXFACTORY_HOME in which the stage's artefacts lie.
        address: from the task's inputs, by name, to the artefact's address.

    """

    kind: str = ""
    address: Callable[..., str] | None = None

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **_: Any
    ) -> str | None:
        """The key, and with it the place of the result."""
        if self.address is None:
            raise ValueError("ByAddress needs an address function")
        return f"{self.kind}/{self.address(**inputs)}/.result.json"

    def folder(self, **inputs: Any) -> Path:
        """Where the artefact for these inputs lies or will lie."""
        if self.address is None:
            raise ValueError("ByAddress needs an address function")
        return settings().folder(self.kind) / self.address(**inputs)
