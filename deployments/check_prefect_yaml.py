"""A strict look at prefect.yaml: `python -m deployments.check_prefect_yaml`.

Prefect ignores unknown keys silently and skips whole files for one bad key. This refuses unknown keys of the file, its deployments,
their work pools and limits, path entrypoints, flows that cannot be loaded, and parameters that a flow does not have.
"""

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

import yaml
from prefect import Flow
from prefect.cli.deploy._models import ConcurrencyLimitSpec, DeploymentConfig, PrefectYamlModel, WorkPoolConfig
from pydantic import BaseModel, ValidationError

_FREE_TOP_LEVEL = {"definitions"}  # anchors


def problems(path: Path) -> list[str]:
    """Everything that is wrong with a deployment file, one line each."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = _unknown(content, PrefectYamlModel, str(path), _FREE_TOP_LEVEL)
    for deployment in content.get("deployments", []):
        found += _deployment_problems(deployment, f"{path}: {deployment.get('name', 'a deployment without a name')}")
    return found


def _deployment_problems(deployment: dict[str, Any], where: str) -> list[str]:
    found = _unknown(deployment, DeploymentConfig, where)
    for key, model in (("work_pool", WorkPoolConfig), ("concurrency_limit", ConcurrencyLimitSpec)):
        if isinstance(deployment.get(key), dict):
            found += _unknown(deployment[key], model, f"{where}: {key}")
    try:
        DeploymentConfig.model_validate(deployment)
    except ValidationError as error:
        found += [f"{where}: {'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
    return found + _entrypoint_problems(deployment, where)


def _entrypoint_problems(deployment: dict[str, Any], where: str) -> list[str]:
    entrypoint = str(deployment.get("entrypoint", ""))
    if "/" in entrypoint or ":" in entrypoint or "." not in entrypoint:
        return [f"{where}: entrypoint {entrypoint!r} is not a module path such as flows.factory.factory"]
    module, _, name = entrypoint.rpartition(".")
    try:
        flow = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        return [f"{where}: {entrypoint} cannot be imported: {error}"]
    if not isinstance(flow, Flow):
        return [f"{where}: {entrypoint} is no flow"]
    known = set(inspect.signature(flow.fn).parameters)
    return [f"{where}: the flow has no parameter {key!r}" for key in deployment.get("parameters") or {} if key not in known]


def _unknown(values: dict[str, Any], model: type[BaseModel], where: str, allowed: set[str] = frozenset()) -> list[str]:  # type: ignore[assignment]
    names = {name for field, info in model.model_fields.items() for name in (field, info.alias) if name}
    return [f"{where}: {key!r} is no key that Prefect knows" for key in values if key not in names | allowed]


def main() -> int:
    """Print the problems; 0 if there are none."""
    found = problems(Path("prefect.yaml"))
    for problem in found:
        sys.stderr.write(problem + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
