"""Clips as they are brought become utterances' samples, or a reason why not: decoded, measured, checked and mended in one place."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from infra.errors import SettingsError, SpeechError
from tasks.contracts import Measurements, Refusal
from tasks.speech.audio import read_recording, to_clip, to_float32
from tasks.speech.checks import Answer, Check, SpeechChecks, answered, check_clip, findings, silent_edges_s
from tasks.speech.measure import clipped_share, measure
from tasks.speech.repair import raised, trimmed
from tasks.speech.transcript import check_language, clean_transcript
from tasks.speech.voice_activity import FRAME, speech_probabilities

INTAKE_VERSION = 5  # raise it when equal input would give other samples, texts, measurements, warnings or refusals
_AT_A_TIME = 64  # clips whose sound is in memory, 180 MB at most; more would hardly save time


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
    measured: Measurements
    warnings: tuple[str, ...]


def take_in(brought: Sequence[Brought], checks: SpeechChecks) -> list[Taken | SpeechError]:
    """Decode, measure, check and mend a shard of clips; each gives its own result, whatever the others hold, in their order."""
    batches = [brought[start : start + _AT_A_TIME] for start in range(0, len(brought), _AT_A_TIME)]
    return [taken for batch in batches for taken in _take_in(batch, checks)]


def _take_in(brought: Sequence[Brought], checks: SpeechChecks) -> list[Taken | SpeechError]:
    read = [_read(one, checks) for one in brought]
    heard = iter(speech_probabilities([one.floats for one in read if isinstance(one, _Read)]))
    return [one if isinstance(one, SpeechError) else _checked(one, next(heard), checks) for one in read]


class _Read(NamedTuple):
    samples: np.ndarray  # int16
    floats: np.ndarray  # the same, as float32
    clipped_share: float
    text: str
    language: str


def _read(brought: Brought, checks: SpeechChecks) -> _Read | SpeechError:
    try:
        text = clean_transcript(brought.text)
        language = _language(brought.language)
        recording = read_recording(brought.audio_path)
        samples = to_clip(recording)
        floats = to_float32(samples)
        check_clip(floats, text, checks)
    except SpeechError as error:
        return error
    return _Read(samples, floats, clipped_share(recording.samples, recording.peak), text, language)


def _checked(read: _Read, speech: np.ndarray, checks: SpeechChecks) -> Taken | SpeechError:
    samples, speech = _mended(read.samples, speech, checks)
    floats = read.floats if samples is read.samples else to_float32(samples)
    measured = measure(floats, speech, read.clipped_share, read.text)
    try:
        found = [answered(one, checks) for one in findings(floats, speech, measured, read.text, read.language, checks)]
    except SpeechError as error:
        return error
    return Taken(samples, read.text, read.language, measured, tuple(warning for warning in found if warning))


def _mended(samples: np.ndarray, speech: np.ndarray, checks: SpeechChecks) -> tuple[np.ndarray, np.ndarray]:
    """Trimmed and raised to a usual level where that is asked for and needed."""
    if checks.answer(Check.EDGES) is Answer.REPAIR and max(silent_edges_s(speech)) > checks.longest_edge_s:
        first, last = trimmed(speech, checks.kept_edge_s)
        samples, speech = samples[first * FRAME : last * FRAME], speech[first:last]
    if checks.answer(Check.QUIET) is Answer.REPAIR:
        samples = raised(samples, checks.quiet_lufs, checks.repaired_lufs)
    return samples, speech


def _language(named: str | None) -> str:
    if named is None:
        raise SpeechError("No language is given", "Pass --language or add a language column", Refusal.LANGUAGE)
    try:
        return check_language(named)
    except SettingsError as error:
        raise SpeechError(error.problem, error.fix, Refusal.LANGUAGE) from error
