"""A strict look at prefect.yaml: `python -m deployments.check_prefect_yaml`.

Prefect ignores unknown keys silently and skips whole files for one bad key. This refuses unknown keys of the file, its deployments,
their work pools, limits, schedules and triggers, path entrypoints, flows that cannot be loaded, parameters that a flow does not have or
cannot take, schedules without a slug, and triggers that only Prefect Cloud takes.
"""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from prefect import Flow
from prefect.cli.deploy._models import (
    ConcurrencyLimitSpec,
    DeploymentConfig,
    PrefectYamlModel,
    RawScheduleConfig,
    WorkPoolConfig,
)
from prefect.events.schemas.deployment_triggers import (
    DeploymentCompoundTrigger,
    DeploymentEventTrigger,
    DeploymentMetricTrigger,
    DeploymentSequenceTrigger,
    deployment_trigger_discriminator,
)
from pydantic import BaseModel, TypeAdapter, ValidationError

from infra.errors import VoxFactoryError

_FREE_TOP_LEVEL = {"definitions"}  # anchors
_TRIGGERS: dict[str, type[BaseModel]] = {
    "event": DeploymentEventTrigger,
    "metric": DeploymentMetricTrigger,
    "compound": DeploymentCompoundTrigger,
    "sequence": DeploymentSequenceTrigger,
}


def problems(path: Path) -> list[str]:
    """Everything that is wrong with a deployment file, one line each."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = [*_unknown(content, PrefectYamlModel, str(path), _FREE_TOP_LEVEL)]
    if "pull" not in content:
        found.append(f"{path}: without `pull`, runs would work in the folder of whoever deployed them")
    for deployment in content.get("deployments", []):
        found += _deployment_problems(deployment, f"{path}: {deployment.get('name', 'a deployment without a name')}")
    return found


def _deployment_problems(deployment: dict[str, Any], where: str) -> list[str]:
    found = [*_unknown(deployment, DeploymentConfig, where), *_invalid(deployment, DeploymentConfig, where)]
    for key, model in (("work_pool", WorkPoolConfig), ("concurrency_limit", ConcurrencyLimitSpec)):
        if isinstance(deployment.get(key), dict):
            found += _unknown(deployment[key], model, f"{where}: {key}")
    flow = _load(str(deployment.get("entrypoint", "")))
    if isinstance(flow, str):
        return [*found, f"{where}: {flow}"]
    found += _parameter_problems(flow, deployment, where)
    for number, schedule in enumerate(deployment.get("schedules") or []):
        place = f"{where}: schedules[{number}]"
        found += [*_invalid(schedule, RawScheduleConfig, place), *_parameter_problems(flow, schedule, place)]
        if not schedule.get("slug"):
            found.append(f"{place}: it has no slug, so that each deployment makes it anew")
    for number, trigger in enumerate(deployment.get("triggers") or []):
        place = f"{where}: triggers[{number}]"
        found += [*_trigger_problems(trigger, place), *_parameter_problems(flow, trigger, place, templates=True)]
    return found


def _load(entrypoint: str) -> "Flow[..., Any] | str":
    """The flow, or what is wrong with its entrypoint."""
    if "/" in entrypoint or ":" in entrypoint or "." not in entrypoint:
        return f"entrypoint {entrypoint!r} is not a module path such as flows.factory.factory"
    module, _, name = entrypoint.rpartition(".")
    try:
        flow = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        return f"{entrypoint} cannot be imported: {error}"
    return flow if isinstance(flow, Flow) else f"{entrypoint} is no flow"


def _parameter_problems(flow: "Flow[..., Any]", given: dict[str, Any], where: str, templates: bool = False) -> Iterator[str]:
    known = get_type_hints(flow.fn, include_extras=True)
    for name, value in (given.get("parameters") or {}).items():
        if name == "return" or name not in known:
            yield f"{where}: the flow has no parameter {name!r}"
        elif not (templates and "{{" in str(value)):
            try:
                TypeAdapter(known[name]).validate_python(value)
            except (ValidationError, VoxFactoryError) as error:
                yield f"{where}: the flow cannot take {name}={value!r}: {' '.join(str(error).split())}"


def _trigger_problems(trigger: dict[str, Any], where: str) -> Iterator[str]:
    kind = deployment_trigger_discriminator(trigger)
    if kind == "metric":
        yield f"{where}: metric triggers are of Prefect Cloud, a server of one's own refuses them"
        return
    if kind not in _TRIGGERS:
        yield f"{where}: there are no triggers of type {kind!r}"
        return
    yield from _unknown(trigger, _TRIGGERS[kind], where)
    yield from _invalid(trigger, _TRIGGERS[kind], where)


def _unknown(values: dict[str, Any], model: type[BaseModel], where: str, allowed: set[str] = frozenset()) -> Iterator[str]:  # type: ignore[assignment]
    names = {name for field, info in model.model_fields.items() for name in (field, info.alias) if name}
    yield from (f"{where}: {key!r} is no key that Prefect knows" for key in values if key not in names | allowed)


def _invalid(values: dict[str, Any], model: type[BaseModel], where: str) -> Iterator[str]:
    try:
        model.model_validate(values)
    except ValidationError as error:
        yield from (f"{where}: {'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())


def main() -> int:
    """Print the problems; 0 if there are none."""
    found = problems(Path("prefect.yaml"))
    for problem in found:
        sys.stderr.write(problem + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
