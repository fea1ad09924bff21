"""What a repository's README says of it in its YAML front matter, and what is wrong with that."""

import re
from functools import lru_cache
from typing import Any

from infra.local_hub.foreign import jsonable, parsed_yaml

_FRONT_MATTER = re.compile(r"^\s*---[ \t]*\r?\n(.*?)^---[ \t]*$", re.DOTALL | re.MULTILINE)
_LISTS = ("datasets", "tags", "language", "metrics", "pipeline_tags")
_DATASET_TAGS = (
    "task_categories", "task_ids", "size_categories", "multilinguality", "language_creators", "annotations_creators",
    "source_datasets",
)  # fmt: skip
_COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")


def metadata(readme: str | None) -> dict[str, Any] | None:
    """The front matter as a mapping; None where there is none or it is broken."""
    match = _FRONT_MATTER.match(readme or "")
    return _metadata(match.group(1)) if match else None


@lru_cache(maxsize=256)
def _metadata(front_matter: str) -> dict[str, Any] | None:
    """The same: lists ask for it again and again, and nobody changes it."""
    try:
        content = jsonable(parsed_yaml(front_matter))
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def body(readme: str) -> str:
    """The README without its front matter."""
    match = _FRONT_MATTER.match(readme)
    return readme[match.end() :].lstrip("\r\n") if match else readme


def validate(readme: str, kind: str) -> tuple[list[str], list[str]]:
    """Errors and warnings of a card, each a sentence."""
    match = _FRONT_MATTER.match(readme)
    if not match:
        return [], ["empty or missing yaml metadata in repo card"]
    try:
        content = parsed_yaml(match.group(1))
        jsonable(content)
    except ValueError as error:
        return [f"The metadata is no YAML: {error}"], []
    if content is None:
        return [], ["empty or missing yaml metadata in repo card"]
    if not isinstance(content, dict):
        return ["The metadata must be a mapping"], []
    return _errors(content, kind), _warnings(content, kind)


def _errors(content: dict[str, Any], kind: str) -> list[str]:
    errors = [
        f'"{key}" must be a string or a list of strings'
        for key in _LISTS
        if key in content and not _is_text_or_texts(content[key])
    ]
    if "license" in content and not _is_text_or_texts(content["license"]):
        errors.append('"license" must be a string')
    if "model-index" in content:
        errors += _model_index_errors(content["model-index"])
    if kind == "space":
        errors += [
            f'"{key}" must be one of [{", ".join(_COLOURS)}]'
            for key in ("colorFrom", "colorTo")
            if key in content and content[key] not in _COLOURS
        ]
    return errors


def _model_index_errors(index: Any) -> list[str]:
    if not isinstance(index, list):
        return ['"model-index" must be an array']
    errors = []
    for place, entry in enumerate(index):
        if not isinstance(entry, dict) or not isinstance(entry.get("results"), list):
            errors.append(f'"model-index[{place}].results" must be an array')
            continue
        for number, result in enumerate(entry["results"]):
            missing = [key for key in ("task", "dataset", "metrics") if not isinstance(result, dict) or key not in result]
            errors += [f'"model-index[{place}].results[{number}].{key}" is required' for key in missing]
    return errors


def _warnings(content: dict[str, Any], kind: str) -> list[str]:
    if kind != "space" and "license" not in content:
        return ["no license is named"]
    return []


def _is_text_or_texts(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))


def texts(card: dict[str, Any], key: str) -> list[str]:
    """What a card lists under a key, be it one or many."""
    value = card.get(key) or []
    return [str(item) for item in (value if isinstance(value, list) else [value])]


def tags(card: dict[str, Any], kind: str) -> list[str]:
    """The tags that the Hub derives from a card."""
    found = texts(card, "library_name") + texts(card, "tags") + texts(card, "pipeline_tag")
    prefix = "language:" if kind == "dataset" else ""
    found += [prefix + language for language in texts(card, "language")]
    named = {"license": "license", "datasets": "dataset", "base_model": "base_model"}
    if kind == "dataset":
        named |= {key: key for key in _DATASET_TAGS}
    found += [f"{label}:{value}" for key, label in named.items() for value in texts(card, key)]
    if relation := card.get("base_model_relation"):
        found += [f"base_model:{relation}:{base}" for base in texts(card, "base_model")]
    return list(dict.fromkeys(found))
