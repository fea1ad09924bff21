"""When a task need not run again: its result lies inside the artefact that it describes.

A stage writes its artefact to `VOXFACTORY_HOME/<kind>/<address>/`, where the address is the hash of everything that makes it: content
hashes, resolved revisions, options, a version constant; never paths, times or "main". Prefect keeps the task's result as
`.result-<home>.json` in that same folder, because results are stored under VOXFACTORY_HOME. Delete the folder, and artefact and
result are gone together: the next run makes both again. Results name folders, so the home is part of their name: in a home that was
moved, they are made again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect.cache_policies import CachePolicy
from prefect.context import TaskRunContext

from infra.settings import settings
from infra.storage import content_hash


@dataclass(kw_only=True)
class ByAddress(CachePolicy):
    """Cache key of a stage: `<kind>/<address>/.result-<home>.json`.

    Args:
        kind: folder of VOXFACTORY_HOME in which the stage's artefacts lie.
        address: from the task's inputs, by name, to the artefact's address.

    """

    kind: str
    address: Callable[..., str]

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **_: Any
    ) -> str | None:
        """The key, and with it the place of the result."""
        home = content_hash(str(settings().folder("")))[:8]
        return f"{self.kind}/{self.address(**inputs)}/.result-{home}.json"

    def folder(self, **inputs: Any) -> Path:
        """Where the artefact for these inputs lies or will lie."""
        return settings().folder(self.kind) / self.address(**inputs)
