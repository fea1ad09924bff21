"""What clients send as JSON: parsed once, then asked for field by field, each of the type that it must have.

A field that is null is one that was not sent. Nothing that comes out of here is broken text or no number: all of it can be kept and
told again.
"""

import json
import math
from typing import Any

from infra.local_hub.refusal import bad_request

_MOST_DIGITS = 15  # every such number is exact in JSON, fits the database, and is read in no time
_LARGEST = 10**_MOST_DIGITS


def parsed(raw: bytes) -> Any:
    """The value that a JSON text is.

    Raises:
        Refusal: it is none, is nested too deeply, or holds numbers or characters that there are not (NaN, half a surrogate pair).

    """
    try:
        value = json.loads(raw.decode(), parse_float=_finite, parse_constant=_finite)
        if b"\\u" in raw:
            _check_texts(value)
    except (ValueError, RecursionError) as error:
        raise bad_request("The body is no JSON") from error
    return value


def whole(text: str | None) -> int | None:
    """The number that a text in an address or a header is; None if it is none of at most 15 digits."""
    return int(text) if text and text.isdecimal() and len(text) <= _MOST_DIGITS else None


class Fields:
    """The fields of a JSON object.

    Raises:
        Refusal: from each of its methods, for a field of another type.

    """

    def __init__(self, value: Any) -> None:
        if not isinstance(value, dict):
            raise bad_request("The body is no JSON object")
        self._values: dict[str, Any] = value

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str, otherwise: str = "") -> str:
        """A text; `otherwise` if it is missing or empty."""
        return self.optional_text(name) or otherwise

    def optional_text(self, name: str) -> str | None:
        """A text, or None if it is missing."""
        value: str | None = self._typed(name, str, "text")
        return value

    def number(self, name: str) -> int | None:
        """A whole number of at most 15 digits, or None if it is missing."""
        value: int | None = self._typed(name, int, "a number")
        if isinstance(value, bool) or abs(value or 0) >= _LARGEST:
            raise bad_request(f"{name!r} is no number of at most {_MOST_DIGITS} digits")
        return value

    def flag(self, name: str) -> bool | None:
        """True or false, or None if it is missing."""
        value: bool | None = self._typed(name, bool, "true or false")
        return value

    def is_false(self, name: str) -> bool:
        """Whether it is there and false, whatever else it may be."""
        return self._values.get(name) is False

    def inner(self, name: str) -> "Fields":
        """The fields of an object inside, none if it is missing."""
        return Fields(self._typed(name, dict, "an object") or {})

    def objects(self, name: str) -> "list[Fields]":
        """A list of objects, empty if it is missing."""
        return [Fields(item) for item in self._typed(name, list, "a list") or []]

    def texts(self, name: str) -> list[str]:
        """A list of texts, empty if it is missing."""
        items = self._typed(name, list, "a list") or []
        if not all(isinstance(item, str) for item in items):
            raise bad_request(f"{name!r} must be a list of texts")
        return list(items)

    def plain(self) -> dict[str, Any]:
        """All fields that are text, numbers, true or false."""
        return {name: value for name, value in self._values.items() if isinstance(value, str | int | float)}

    def _typed(self, name: str, kind: type, described: str) -> Any:
        value = self._values.get(name)
        if value is not None and not isinstance(value, kind):
            raise bad_request(f"{name!r} must be {described}")
        return value


def _check_texts(value: Any) -> None:
    """Raise a ValueError at half a surrogate pair; a long text is not copied for it, unless it is more than ASCII."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            one.isascii() or one.encode()
        elif isinstance(one, dict):
            left += [*one, *one.values()]
        elif isinstance(one, list):
            left += one


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits} is no number")
    return number
