"""A recording is known again whatever was done to its file, and no other is taken for it."""

import io
from functools import lru_cache

import numpy as np
import pytest
import soundfile
import soxr

from tasks.speech.audio import read_clip, to_float32, to_int16
from tasks.speech.sound_print import likeness, sound_print
from tasks.speech.synthesis import Voice, synthesise
from tests.builders.speech import REAL_SPEECH, tone

pytestmark = pytest.mark.fast
SAID = (
    "the old ship sailed at dawn|we never met before the war|please close the window now|seven green bottles hang there|"
    "tomorrow it will rain again|she sells shells by the shore|who took my brown coat|nothing is lost until you stop|"
    "open the third door slowly|he wrote a letter to his son|five or six birds were singing|my brother lives in a small town"
).split("|")


@lru_cache(maxsize=1)
def recordings() -> list[np.ndarray]:
    """Real ones of one speaker, and synthetic ones of one voice."""
    real = [read_clip(path) for path in sorted(REAL_SPEECH.glob("*.wav"))]
    spoken = [synthesise(text, "en", Voice("m3", 150, 50)) for text in SAID]
    return real + [to_int16(soxr.resample(to_float32(samples), rate_hz, 16_000)) for samples, rate_hz in spoken]


def recoded(samples: np.ndarray, form: str) -> np.ndarray:
    encoded = io.BytesIO()
    soundfile.write(encoded, to_float32(samples), 16_000, format=form)
    encoded.seek(0)
    return to_int16(soundfile.read(encoded, dtype="float32")[0])


def same(first: np.ndarray, second: np.ndarray) -> bool:
    return any(likeness(first, second, shift).same for shift in range(-30, 31))


CHANGES = {
    "12 dB quieter": lambda samples: to_int16(to_float32(samples) / 4),
    "0.2 s shorter": lambda samples: samples[3_200:],
    "MP3": lambda samples: recoded(samples, "MP3"),
    "OGG": lambda samples: recoded(samples, "OGG"),
    "all of it": lambda samples: recoded(to_int16(to_float32(samples[3_111:]) / 4), "MP3"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_recording_is_known_again(change: str):
    known = [same(sound_print(one), sound_print(CHANGES[change](one))) for one in recordings()]
    assert np.mean(known) >= 0.95


def test_other_utterances_of_the_same_voice_are_others():
    prints = [sound_print(one) for one in recordings()]
    alike = [(i, j) for i in range(len(prints)) for j in range(i) if same(prints[i], prints[j])]
    assert not alike


@pytest.mark.parametrize("samples", [np.zeros(16_000, np.int16), to_int16(tone(0.3)), np.zeros(0, np.int16)])
def test_what_holds_too_little_has_no_print(samples: np.ndarray):
    assert len(sound_print(samples)) == 0


def test_two_without_a_print_are_not_alike():
    nothing = np.zeros(0, np.uint32)
    assert not likeness(nothing, nothing, 0).same
