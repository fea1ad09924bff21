"""Tokens that this process knows never stand in what it writes: log records, errors and tracebacks pass through here.

Whoever reads a secret remembers it here: the settings, the door to the Hub, the local Hub's accounts.
"""

import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import SecretStr

_HIDDEN = "**********"
_known: set[str] = set()
_make_record = logging.getLogRecordFactory()


def remember(*secrets: "SecretStr | None") -> None:
    """Keep these out of every text from now on."""
    _known.update(secret.get_secret_value() for secret in secrets if secret and secret.get_secret_value())
    logging.setLogRecordFactory(_redacted_record)
    sys.excepthook = _print_redacted
    threading.excepthook = _print_redacted_of_thread


def redacted(text: str) -> str:
    """The text with stars where a known secret stood."""
    for secret in tuple(_known):  # another thread may remember one more
        text = text.replace(secret, _HIDDEN)
    return text


def _redacted_record(*values: Any, **named: Any) -> logging.LogRecord:
    record = _make_record(*values, **named)
    try:
        message = record.getMessage()
    except (TypeError, ValueError, KeyError):  # the arguments do not fit: whoever writes it would print them as they are
        message = f"{record.msg} {record.args!r}"
        record.msg, record.args = redacted(message), None
    if redacted(message) != message:
        record.msg, record.args = redacted(message), None
    if record.exc_info and record.exc_info[0] and record.exc_text is None:
        record.exc_text = redacted("".join(traceback.format_exception(*record.exc_info)).rstrip())
    return record


@contextmanager
def redacted_errors() -> Iterator[None]:
    """Whatever leaves the block as an error says no secret: not where it is printed, logged, or kept as the state of a run."""
    try:
        yield
    except Exception as error:
        error.args = tuple(redacted(part) if isinstance(part, str) else part for part in error.args)
        raise


def _print_redacted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, trace))))


def _print_redacted_of_thread(happened: threading.ExceptHookArgs) -> None:
    if happened.exc_value is not None:
        _print_redacted(happened.exc_type, happened.exc_value, happened.exc_traceback)
