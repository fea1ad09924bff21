"""What a damaged recording, a wrong text or a wrong name costs, on real speech."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pydantic import ValidationError

from infra.errors import SpeechError
from tasks.contracts import Refusal
from tasks.speech.audio import duration_s, to_float32
from tasks.speech.checks import Answer, Check, SpeechChecks
from tasks.speech.intake import Brought, Taken, take_in
from tests.builders.speech import REAL_SPEECH, tone

pytestmark = pytest.mark.fast
USUAL = SpeechChecks()
LONG = REAL_SPEECH / "conf-getconfno.wav"
TEXT = LONG.with_suffix(".txt").read_text().strip()
Change = Callable[[np.ndarray], np.ndarray]


def brought(folder: Path, change: Change = lambda samples: samples, text: str = TEXT, language: str = "en") -> Brought:
    """A prompt of four seconds, changed."""
    samples, sample_rate_hz = soundfile.read(LONG, dtype="float32")
    soundfile.write(folder / "clip.wav", change(samples), sample_rate_hz, subtype="FLOAT")
    return Brought(folder / "clip.wav", text, language)


def taken(one: Brought, checks: SpeechChecks = USUAL) -> Taken:
    (result,) = take_in([one], checks)
    assert isinstance(result, Taken), result
    return result


def refused(one: Brought, checks: SpeechChecks = USUAL) -> SpeechError:
    (result,) = take_in([one], checks)
    assert isinstance(result, SpeechError), result
    return result


def warned(one: Brought, checks: SpeechChecks = USUAL) -> set[str]:
    """Kinds of warnings, but for the narrow band of all these recordings."""
    return {warning.partition(":")[0] for warning in taken(one, checks).warnings} - {Check.NARROW}


def in_noise(samples: np.ndarray) -> np.ndarray:
    """Half a second of a loud room before and after, too."""
    padded = np.pad(samples, 4_000)
    return (padded + np.random.default_rng(0).normal(0, 0.1, len(padded))).astype(np.float32)


def between_silences(samples: np.ndarray) -> np.ndarray:
    silence = np.random.default_rng(0).normal(0, 1e-5, 3 * 8_000).astype(np.float32)
    return np.concatenate((silence, samples, silence))


def test_every_real_prompt_is_taken_and_measured():
    paths = sorted(REAL_SPEECH.glob("*.wav"))
    results = take_in([Brought(path, path.with_suffix(".txt").read_text(), "en") for path in paths], USUAL)
    for path, result in zip(paths, results, strict=True):
        assert isinstance(result, Taken), (path, result)
        measured = result.measured
        assert 0 < measured.speech_s <= duration_s(result.samples)
        assert -30 < measured.level_lufs < -10
        assert 3_000 < measured.bandwidth_hz < 4_200  # recorded at 8 kHz
        assert measured.clipped_share < USUAL.clipped_share


def test_a_clean_prompt_is_warned_of_nothing_but_its_bandwidth(tmp_path: Path):
    assert not warned(brought(tmp_path))


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda samples: np.clip(4 * samples / np.abs(samples).max(), -1, 1), Refusal.CLIPPED),
        (lambda samples: 0.2 * np.clip(4 * samples / np.abs(samples).max(), -1, 1), Refusal.CLIPPED),  # and made quieter since
        (lambda samples: 1e-4 * samples, Refusal.SILENT),
        (lambda samples: in_noise(0 * samples), Refusal.NO_SPEECH),
        (lambda samples: np.tile(samples, 9), Refusal.TOO_LONG),
        (lambda samples: samples[:800], Refusal.TOO_SHORT),
    ],
)
def test_a_damaged_recording_is_refused_for_what_it_is(tmp_path: Path, change: Change, kind: Refusal):
    assert refused(brought(tmp_path, change)).kind == kind


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (in_noise, Check.NOISY),
        (lambda samples: 0.02 * samples, Check.QUIET),
        (between_silences, Check.EDGES),
        (lambda samples: samples[6_000:-6_000], Check.CUT_OFF),
    ],
)
def test_what_may_still_be_learned_from_is_kept_with_a_warning(tmp_path: Path, change: Change, check: Check):
    assert check in warned(brought(tmp_path, change))


@pytest.mark.parametrize(
    ("text", "language", "check"),
    [
        ("Veuillez composer le numéro de votre conférence, suivi du dièse.", "en", Check.LANGUAGE),
        (TEXT, "fr", Check.LANGUAGE),
        ("Пожалуйста, введите номер конференции", "en", Check.LANGUAGE),
        ("Please enter your conference number, 4711, then the pound key.", "en", Check.NUMERALS),
        ("go on " * 8, "en", Check.REPEATED),
    ],
)
def test_a_text_that_does_not_fit_is_kept_with_a_warning(tmp_path: Path, text: str, language: str, check: Check):
    assert check in warned(brought(tmp_path, text=text, language=language))


@pytest.mark.parametrize("text", ["Yes.", "Ja, gerne!", "nine nine nine nine", "Grüezi mitenand, wie gaats eu hüt so?"])
def test_short_texts_and_dialects_are_not_taken_for_other_languages(tmp_path: Path, text: str):
    language = "en" if text.isascii() and "nine" in text else "de"
    assert not {Check.LANGUAGE, Check.REPEATED} & warned(brought(tmp_path, text=text, language=language))


def test_more_text_than_can_be_said_is_refused(tmp_path: Path):
    assert refused(brought(tmp_path, text=TEXT * 4)).kind == Refusal.PACE
    assert refused(brought(tmp_path, text="word " * 20_000)).kind == Refusal.PACE


def test_every_check_answers_as_its_setting_says(tmp_path: Path):
    noisy = brought(tmp_path, in_noise)
    strict = SpeechChecks(answers={Check.NOISY: Answer.REFUSE})
    deaf = SpeechChecks(answers={Check.NOISY: Answer.IGNORE})
    assert refused(noisy, strict).kind == Refusal.NOISY
    assert Check.NOISY in warned(noisy)
    assert Check.NOISY not in warned(noisy, deaf)
    clipped = brought(tmp_path, lambda samples: np.clip(4 * samples / np.abs(samples).max(), -1, 1))
    assert Check.CLIPPED in warned(clipped, SpeechChecks(answers={Check.CLIPPED: Answer.WARN}))


def test_what_cannot_be_repaired_is_refused_as_a_setting():
    with pytest.raises(ValidationError, match="clipped cannot be repaired"):
        SpeechChecks(answers={Check.CLIPPED: Answer.REPAIR})


def test_silence_at_the_ends_is_trimmed_and_nothing_of_the_speech(tmp_path: Path):
    whole = brought(tmp_path, between_silences)
    repaired = taken(whole, SpeechChecks(answers={Check.EDGES: Answer.REPAIR}))
    assert duration_s(taken(whole).samples) - duration_s(repaired.samples) > 5
    assert repaired.measured.speech_s == pytest.approx(taken(whole).measured.speech_s, abs=0.04)
    assert not any(warning.startswith(Check.EDGES) for warning in repaired.warnings)


def test_a_quiet_recording_is_raised_and_sounds_the_same(tmp_path: Path):
    quiet = brought(tmp_path, lambda samples: 0.02 * samples)
    repaired = taken(quiet, SpeechChecks(answers={Check.QUIET: Answer.REPAIR}))
    assert repaired.measured.level_lufs == pytest.approx(-23, abs=0.5)
    assert np.corrcoef(to_float32(repaired.samples), to_float32(taken(quiet).samples))[0, 1] > 0.999


def test_one_bad_clip_of_a_shard_changes_nothing_for_the_others(tmp_path: Path):
    good = brought(tmp_path)
    alone = taken(good)
    first, broken, last = take_in([good, Brought(tmp_path / "none.wav", "a", "en"), good], USUAL)
    assert isinstance(broken, SpeechError)
    for one in (first, last):
        assert isinstance(one, Taken)
        assert one.measured == alone.measured
        assert np.array_equal(one.samples, alone.samples)


def test_a_tone_is_no_speech(tmp_path: Path):
    soundfile.write(tmp_path / "tone.wav", tone(2.0), 16_000)
    assert refused(Brought(tmp_path / "tone.wav", "hello", "en")).kind in (Refusal.NO_SPEECH, Refusal.CLIPPED)
