"""YAML and JSON that people put into their repositories, as the Hub may tell it in its answers.

Whatever it is, it is read in bounded time and memory; what JSON has no word for (dates, sets, NaN, half a surrogate pair) becomes text or
null. Numbers are those of YAML 1.2: 12:30 is text.
"""

import datetime
import json
import math
from functools import lru_cache
from typing import Any

_LONGEST_TEXT = 1 << 18
_MOST_VALUES, _DEEPEST = 50_000, 50
_LONGEST_ANSWER, _VALUE_LENGTH = 1_000_000, 20  # characters; the same text may be named again and again
_LARGEST_NUMBER = 1 << 64


def parsed_yaml(text: str) -> Any:
    """What a YAML document says.

    Raises:
        ValueError: it is none, or larger than any card.

    """
    import yaml

    if len(text) > _LONGEST_TEXT:
        raise ValueError(f"it is longer than {_LONGEST_TEXT} characters")
    try:
        return yaml.load(text, _loader())  # noqa: S506 - it is a SafeLoader
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(str(error).partition("\n")[0]) from error
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:  # so PyYAML fails at `!!bool x` and alike
        raise ValueError("a value does not fit its tag") from error


def parsed_json(text: str) -> Any:
    """What a JSON document says.

    Raises:
        ValueError: it is none, or is nested too deeply.

    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def jsonable(value: Any) -> Any:
    """The same in values that every JSON answer can carry.

    Raises:
        ValueError: there is no end to it: it holds itself, or is larger than any card once written out.

    """
    return _Writer().plain(value, _DEEPEST)


class _Writer:
    """Writes values out, as long as there is room."""

    def __init__(self) -> None:
        self._room = _LONGEST_ANSWER

    def plain(self, value: Any, depth: int) -> Any:
        self._take(_VALUE_LENGTH)
        if depth == 0:
            raise ValueError(f"it is nested more than {_DEEPEST} times")
        if isinstance(value, dict):
            return {self._text(key): self.plain(inner, depth - 1) for key, inner in value.items()}
        if isinstance(value, list | tuple | set):
            return [self.plain(inner, depth - 1) for inner in value]
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, int):
            return value if abs(value) < _LARGEST_NUMBER else None
        return None if value is None else self._text(value)

    def _text(self, value: Any) -> str:
        if isinstance(value, str | bytes):
            self._take(len(value))
        if isinstance(value, datetime.date):
            return value.isoformat()
        raw = value if isinstance(value, bytes) else str(value).encode(errors="replace")
        return raw.decode(errors="replace")

    def _take(self, length: int) -> None:
        self._room -= length
        if self._room < 0:
            raise ValueError(f"it would be longer than {_LONGEST_ANSWER} characters")


@lru_cache(maxsize=1)
def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Merging (`<<`) copies entries: of mappings that merge each other there would be more than memory holds."""

        entries = 0

        def flatten_mapping(self, node: Any) -> None:
            super().flatten_mapping(node)
            self.entries += len(node.value)
            if self.entries > _MOST_VALUES:
                raise ValueError(f"it has more than {_MOST_VALUES} entries")

    for name in ("int", "float"):
        tag = f"tag:yaml.org,2002:{name}"
        Loader.add_constructor(tag, _without_colons(Loader.yaml_constructors[tag]))
    return Loader


def _without_colons(construct: Any) -> Any:
    """A constructor of numbers that leaves those to the base of 60, which take long, what they are: text."""
    return lambda loader, node: node.value if ":" in node.value else construct(loader, node)
