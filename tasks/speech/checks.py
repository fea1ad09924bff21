"""Is this an utterance that a model can learn from? Each limit is here with its reason; each finding tells the measured value.

What is found is refused, kept with a warning, or repaired; which of them is a setting of each check. docs/data.md has them as a table.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from infra.errors import SpeechError
from tasks.contracts import SAMPLE_RATE_HZ, Contract, Measurements, Refusal
from tasks.speech.audio import duration_s
from tasks.speech.measure import SPEECH, UNSURE_S, frame_power, spoken_letters
from tasks.speech.text_language import other_language
from tasks.speech.voice_activity import FRAME

_EDGE_S = 0.01
_CUT_DB = -15.0  # against the mean of speech: 1 in 100 real prompts is as loud at an end, most that were cut in a word are
_LEAST_LETTERS = 20  # under this nobody's pace is typical: "z" may last a second
_NOT_WORDS = re.compile(r"[\d%€$£&@#+=°§]")
_REPEATED = re.compile(r"\b(\w+(?:\W+\w+){0,3})(?:\W+\1\b){5,}")  # up to four words, six times: no number is dictated so


class Answer(StrEnum):
    """What becomes of an utterance in which a check found something."""

    REFUSE = "refuse"
    WARN = "warn"
    REPAIR = "repair"
    IGNORE = "ignore"


class Check(StrEnum):
    """What can be found in an utterance that is long, short and loud enough to be one."""

    NO_SPEECH = "no speech"
    UNSURE = "unsure"
    CLIPPED = "clipped"
    NOISY = "noisy"
    NARROW = "narrow band"
    QUIET = "quiet"
    EDGES = "long silence at an end"
    CUT_OFF = "cut off"
    PACE = "pace"
    LANGUAGE = "language"
    NUMERALS = "digits or symbols"
    REPEATED = "repeated words"


_REFUSALS = {
    Check.NO_SPEECH: Refusal.NO_SPEECH,
    Check.UNSURE: Refusal.NO_SPEECH,
    Check.CLIPPED: Refusal.CLIPPED,
    Check.NOISY: Refusal.NOISY,
    Check.NARROW: Refusal.NARROW,
    Check.QUIET: Refusal.SILENT,
    Check.EDGES: Refusal.SILENT,
    Check.CUT_OFF: Refusal.CUT_OFF,
    Check.PACE: Refusal.PACE,
    Check.LANGUAGE: Refusal.OTHER_LANGUAGE,
    Check.NUMERALS: Refusal.NUMERALS,
    Check.REPEATED: Refusal.REPEATED,
}
_USUAL_ANSWERS = dict.fromkeys(Check, Answer.WARN) | dict.fromkeys((Check.NO_SPEECH, Check.CLIPPED, Check.PACE), Answer.REFUSE)
_REPAIRABLE = (Check.QUIET, Check.EDGES)


class Finding(NamedTuple):
    """What a check found, with its figures."""

    check: Check
    says: str
    fix: str


class SpeechChecks(Contract):
    """What an utterance must satisfy. The first three limits always refuse; what `answers` names is answered as it says there."""

    shortest_s: float = Field(0.2, gt=0, description="Shorter than the shortest spoken word: a click, not speech.")
    longest_s: float = Field(30.0, gt=0, le=30.0, description="Voxtral's window; a longer clip would be cut in training.")
    quietest_dbfs: float = Field(-60.0, lt=0, description="RMS level below which 16 bits hold mostly noise.")
    quiet_lufs: float = Field(-45.0, lt=0, description="Quiet: 20 dB under what broadcasters send (EBU R 128); near the noise.")
    repaired_lufs: float = Field(-23.0, lt=0, description="The level that repairing raises to: EBU R 128's.")
    clipped_share: float = Field(
        0.01, gt=0, lt=1, description="Clipped: real prompts have a tenth of this at their limit, at most."
    )
    least_snr_db: float = Field(10.0, description="Noisy: under this the quiet consonants drown.")
    narrow_hz: float = Field(4_200.0, gt=0, description="Narrow band: what telephones pass; fricatives lie above it.")
    longest_edge_s: float = Field(1.5, gt=0, description="Silence before or after speech that only costs time.")
    kept_edge_s: float = Field(0.25, ge=0, description="What repairing leaves of it, so that no consonant is cut.")
    slowest: float = Field(2.5, ge=0, description="Letters a second of speech: under this, text is missing.")
    fastest: float = Field(32.0, gt=0, description="Letters a second of speech: nobody says more.")
    answers: dict[Check, Answer] = Field(
        default_factory=dict,
        description="refuse, warn, repair (quiet, long silence at an end) or ignore, by check; default: no speech, clipped and pace "
        "are refused, everything else is kept with a warning.",
    )

    @model_validator(mode="after")
    def _only_what_can_be_repaired(self) -> Self:
        hopeless = [str(check) for check, answer in self.answers.items() if answer is Answer.REPAIR and check not in _REPAIRABLE]
        if hopeless:
            raise ValueError(f"{', '.join(hopeless)} cannot be repaired: refuse, warn or ignore")
        return self

    def answer(self, check: Check) -> Answer:
        """What becomes of an utterance in which it found something."""
        return self.answers.get(check, _USUAL_ANSWERS[check])


def check_clip(samples: np.ndarray, text: str, checks: SpeechChecks) -> None:
    """Check what needs no measuring: float32 mono samples at 16 kHz and how long the text is.

    Raises:
        SpeechError: with the measured value and the limit.

    """
    length_s = duration_s(samples)
    if length_s < checks.shortest_s:
        raise SpeechError(
            f"The clip lasts {length_s:.2f} s, less than {checks.shortest_s:g} s", "Record the whole utterance", Refusal.TOO_SHORT
        )
    if length_s > checks.longest_s:
        raise SpeechError(
            f"The clip lasts {length_s:.1f} s, more than {checks.longest_s:g} s", "Cut it at a pause", Refusal.TOO_LONG
        )
    level = level_dbfs(samples)
    if level < checks.quietest_dbfs:
        raise SpeechError(f"The clip is silent ({level:.0f} dBFS)", "Check the microphone and record it again", Refusal.SILENT)
    most = max(_LEAST_LETTERS, 2 * checks.fastest * length_s)  # so that nothing looks for languages in a book
    if checks.answer(Check.PACE) is Answer.REFUSE and len(text) > 2 * most:
        raise SpeechError(
            f"{len(text):,} characters cannot be said in {length_s:.1f} s", "Compare text and recording", Refusal.PACE
        )


def findings(
    samples: np.ndarray, speech: np.ndarray, measured: Measurements, text: str, language: str, checks: SpeechChecks
) -> Iterator[Finding]:
    """Everything that a check finds in float32 samples (n,) at 16 kHz, with how probably each frame of them holds speech."""
    if measured.speech_s == 0 and duration_s(samples) >= UNSURE_S:
        yield Finding(Check.NO_SPEECH, f"nobody speaks in {duration_s(samples):.1f} s", "Record it again or leave it out")
    else:
        yield from _of_the_recording(samples, speech, measured, checks)
        yield from _of_the_pace(measured, text, checks)
    yield from _of_the_text(text, language)


def _of_the_recording(samples: np.ndarray, speech: np.ndarray, measured: Measurements, checks: SpeechChecks) -> Iterator[Finding]:
    if measured.speech_s == 0:
        yield Finding(Check.UNSURE, "too short to tell whether somebody speaks", "Listen to it")
    if measured.clipped_share > checks.clipped_share:
        share = f"{measured.clipped_share:.1%} of the samples are at the limit"
        yield Finding(Check.CLIPPED, share, "Record it again with a lower gain")
    if measured.snr_db is not None and measured.snr_db < checks.least_snr_db:
        yield Finding(Check.NOISY, f"speech is only {measured.snr_db:.0f} dB above the noise", "Record it in a quieter room")
    if 0 < measured.bandwidth_hz < checks.narrow_hz:
        yield Finding(Check.NARROW, f"no voice above {measured.bandwidth_hz:.0f} Hz", "Record with 16 kHz or more")
    if measured.level_lufs is not None and measured.level_lufs < checks.quiet_lufs:
        yield Finding(Check.QUIET, f"{measured.level_lufs:.0f} LUFS", "Record it louder, or let it be repaired")
    before, after = silent_edges_s(speech)
    if max(before, after) > checks.longest_edge_s:
        yield Finding(Check.EDGES, f"{before:.1f} s before speech, {after:.1f} s after it", "Trim it, or let it be repaired")
    if measured.speech_s > 0 and duration_s(samples) >= UNSURE_S and _is_cut_off(samples, speech):
        yield Finding(Check.CUT_OFF, "it begins or ends in the middle of a sound", "Record the whole utterance")


def _of_the_pace(measured: Measurements, text: str, checks: SpeechChecks) -> Iterator[Finding]:
    pace = measured.characters_per_s
    if spoken_letters(text) >= _LEAST_LETTERS and measured.speech_s > 0 and not checks.slowest <= pace <= checks.fastest:
        yield Finding(Check.PACE, f"{pace:.0f} letters a second of speech", "Compare text and recording")


def _of_the_text(text: str, language: str) -> Iterator[Finding]:
    other = other_language(text, language)
    if other:
        yield Finding(Check.LANGUAGE, f"the text looks like {other!r}, not {language!r}", "Name its language")
    if _NOT_WORDS.search(text):
        yield Finding(Check.NUMERALS, "how digits and symbols were read cannot be seen", "Write them as they are said")
    if _REPEATED.search(text.casefold()):
        yield Finding(Check.REPEATED, "the same words six times in a row", "Compare text and recording")


def answered(found: Finding, checks: SpeechChecks) -> str | None:
    """A finding as a warning, or None where it is to be ignored.

    Raises:
        SpeechError: it is to be refused.

    """
    answer = checks.answer(found.check)
    if answer is Answer.REFUSE:
        raise SpeechError(f"{found.check}: {found.says}", found.fix, _REFUSALS[found.check])
    return None if answer is Answer.IGNORE else f"{found.check}: {found.says}"


def silent_edges_s(speech: np.ndarray) -> tuple[float, float]:
    """Seconds before the first frame of speech and after the last; nothing where there is no speech."""
    spoken = np.nonzero(speech >= SPEECH)[0]
    if not len(spoken):
        return 0.0, 0.0
    return float(spoken[0]) * FRAME / SAMPLE_RATE_HZ, float(len(speech) - 1 - spoken[-1]) * FRAME / SAMPLE_RATE_HZ


def _is_cut_off(samples: np.ndarray, speech: np.ndarray) -> bool:
    """Whether the first or last hundredth of a second is nearly as loud as speech."""
    edge = round(_EDGE_S * SAMPLE_RATE_HZ)
    usual = float(frame_power(samples)[speech >= SPEECH].mean())
    loudest = max(float(np.square(part).mean()) for part in (samples[:edge], samples[-edge:]))
    return loudest > usual * 10 ** (_CUT_DB / 10)


def level_dbfs(samples: np.ndarray) -> float:
    """RMS level of float32 samples in dB relative to full scale; -inf for digital silence."""
    mean_square = float(np.vdot(samples, samples)) / max(len(samples), 1)
    return 10 * float(np.log10(mean_square)) if mean_square > 0 else float("-inf")
