"""Clips as they are brought become utterances' samples, or a reason why not: decoded, measured, checked and mended in one place."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from infra.errors import SettingsError, SpeechError
from tasks.contracts import Measurements, Refusal
from tasks.speech.audio import read_clip
from tasks.speech.checks import SpeechChecks, check_clip
from tasks.speech.transcript import check_language, clean_transcript

INTAKE_VERSION = 1  # raise it when equal input would give other samples, texts, measurements, warnings or refusals


class Brought(NamedTuple):
    """One clip and its transcript as somebody brings them."""

    audio_path: Path
    text: str
    language: str | None


class Taken(NamedTuple):
    """The same, as it is kept: int16 samples of shape (n,), 16 kHz mono, and what was measured in them."""

    samples: np.ndarray
    text: str
    language: str
    measured: Measurements | None
    warnings: tuple[str, ...]


def take_in(brought: Sequence[Brought], checks: SpeechChecks) -> list[Taken | SpeechError]:
    """Decode, measure and check a shard of clips; each gives its own result, whatever the others hold, in their order."""
    return [_take(one, checks) for one in brought]


def _take(brought: Brought, checks: SpeechChecks) -> Taken | SpeechError:
    try:
        text = clean_transcript(brought.text)
        language = _language(brought.language)
        samples = read_clip(brought.audio_path)
        check_clip(samples, checks)
    except SpeechError as error:
        return error
    return Taken(samples, text, language, None, ())


def _language(named: str | None) -> str:
    if named is None:
        raise SpeechError("No language is given", "Pass --language or add a language column", Refusal.LANGUAGE)
    try:
        return check_language(named)
    except SettingsError as error:
        raise SpeechError(error.problem, error.fix, Refusal.LANGUAGE) from error
