"""Base job templates of the work pools `cpu` and `gpu`, one JSON file for each pool and type of infrastructure."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Any

Template = dict[str, Any]


class PoolType(StrEnum):
    """On what a work pool runs its flows; a pool keeps its type for life."""

    PROCESS = "process"
    DOCKER = "docker"
    KUBERNETES = "kubernetes"


class Hardware(StrEnum):
    """The two work pools, named by what a run of theirs may take."""

    CPU = "cpu"
    GPU = "gpu"


def template_path(hardware: Hardware, pool_type: PoolType) -> Path:
    """Where the template of a pool lies; Terraform and Helm read the same file."""
    return Path(__file__).parent / f"{hardware}-{pool_type}.json"


def read_template(hardware: Hardware, pool_type: PoolType) -> Template:
    """The base job template of a pool."""
    template: Template = json.loads(template_path(hardware, pool_type).read_text(encoding="utf-8"))
    return template
