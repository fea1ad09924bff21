"""What is computed here on many clips at once equals what the libraries compute one by one."""

import numpy as np
import pytest

from tasks.speech.checks import Check, SpeechChecks, findings
from tasks.speech.measure import level_lufs, measure, spoken_letters
from tasks.speech.voice_activity import FRAME, speech_probabilities
from tests.builders.speech import voice

pytestmark = pytest.mark.fast


def test_speech_is_found_as_silero_vad_itself_finds_it():
    import torch
    from silero_vad import load_silero_vad

    clips = [
        np.concatenate((np.zeros(700, np.float32), voice(number, seconds))) for number, seconds in ((0, 3.0), (9, 0.4), (20, 1.1))
    ]
    model = load_silero_vad()
    for clip, found in zip(clips, speech_probabilities(clips), strict=True):
        model.reset_states()
        padded = torch.from_numpy(np.pad(clip, (0, -len(clip) % FRAME)))
        expected = [model(frame, 16_000).item() for frame in padded.split(FRAME)]
        assert np.allclose(found, expected, atol=1e-3)


def test_a_clip_is_heard_the_same_alone_and_among_others():
    clips = [voice(number, 0.3 + 0.2 * number) for number in range(5)]
    together = speech_probabilities(clips)
    for clip, found in zip(clips, together, strict=True):
        assert np.allclose(speech_probabilities([clip])[0], found, atol=1e-5)
    assert speech_probabilities([]) == []


@pytest.mark.parametrize("seconds", [0.4, 0.45, 1.0, 7.77])
@pytest.mark.parametrize("gain", [1.0, 0.03])
def test_loudness_is_that_of_pyloudnorm(seconds: float, gain: float):
    from pyloudnorm import Meter

    samples = np.concatenate((gain * voice(3, seconds), np.zeros(4_000, np.float32)))
    assert level_lufs(samples) == pytest.approx(Meter(16_000).integrated_loudness(samples.astype(np.float64)), abs=0.01)


def test_what_is_too_short_or_silent_has_no_loudness():
    assert level_lufs(voice(0, 0.39)) is None
    assert level_lufs(np.zeros(16_000, np.float32)) is None


def test_a_noise_ratio_is_what_was_mixed():
    speech = np.concatenate((voice(0, 2.0), np.zeros(16_000, np.float32)))
    noise = np.random.default_rng(0).normal(0, 1, len(speech)).astype(np.float32)
    power = float(np.square(speech[:32_000]).mean())
    for snr_db in (20, 10):
        mixed = speech + noise * np.float32(np.sqrt(power / 10 ** (snr_db / 10)))
        found = measure(mixed, speech_probabilities([mixed])[0], 0.0, "a")
        assert found.snr_db == pytest.approx(snr_db, abs=2)


def test_no_pause_is_taken_for_noise_that_is_louder_than_the_rest():
    samples = np.concatenate((np.zeros(8_000, np.float32), voice(0, 2.0)))
    speech = np.full(-(-len(samples) // FRAME), 0.9, np.float32)
    speech[-30:-20] = 0.0  # as Silero VAD now and then does in the middle of a word
    assert measure(samples, speech, 0.0, "a").snr_db > 40


def test_where_nothing_is_heard_in_less_than_a_second_that_is_said():
    letter = voice(0, 0.9)
    speech = np.zeros(-(-len(letter) // FRAME), np.float32)
    found = {one.check for one in findings(letter, speech, measure(letter, speech, 0.0, "a"), "a", "en", SpeechChecks())}
    assert Check.UNSURE in found
    assert Check.NO_SPEECH not in found


def test_what_is_too_short_for_silero_vad_is_neither_noisy_nor_cut_off():
    letter = voice(0, 0.9)
    speech = np.zeros(-(-len(letter) // FRAME), np.float32)
    speech[-3:] = 0.9  # it hears their ends
    measured = measure(letter, speech, 0.0, "a")
    assert measured.snr_db is None
    assert not {Check.NOISY, Check.CUT_OFF} & {one.check for one in findings(letter, speech, measured, "a", "en", SpeechChecks())}


def test_the_bandwidth_of_a_resampled_telephone_call_is_the_telephone_s():
    import soxr

    wide = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)
    narrow = soxr.resample(soxr.resample(wide, 16_000, 8_000), 8_000, 16_000)
    nothing_known = np.ones(-(-len(wide) // FRAME), np.float32)
    assert measure(wide, nothing_known, 0.0, "a").bandwidth_hz > 7_900
    assert 3_500 < measure(narrow, nothing_known, 0.0, "a").bandwidth_hz < 4_200


@pytest.mark.parametrize(("text", "letters"), [("Yes, it's 4!", 10), ("你好", 6), ("안녕", 5), ("", 0)])
def test_texts_of_other_scripts_are_as_long_as_they_sound(text: str, letters: float):
    assert spoken_letters(text) == letters
