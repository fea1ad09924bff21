import pytest

from infra.errors import SettingsError, SpeechError
from tasks.speech.transcript import check_language, clean_transcript, normalised_prompt

pytestmark = pytest.mark.fast


def test_white_space_is_collapsed_and_letters_are_composed():
    assert clean_transcript("  fu\u0308nf \n\t sechs ") == "fünf sechs"


def test_words_case_and_punctuation_are_left_alone():
    assert clean_transcript("Don't STOP, 5 o'clock!") == "Don't STOP, 5 o'clock!"


@pytest.mark.parametrize("text", ["", "   ", "...", "\x07bell", "—", "(laughs)", "[noise]"])
def test_what_cannot_be_spoken_is_refused(text: str):
    with pytest.raises(SpeechError):
        clean_transcript(text)


def test_prompts_are_equal_whatever_their_case_and_punctuation():
    assert normalised_prompt("Hello,  World!") == normalised_prompt("hello world")
    assert normalised_prompt("नमस्ते") != normalised_prompt("नमस्कार")


@pytest.mark.parametrize(
    ("code", "advice"), [("english", "'en'"), ("deu", "'de'"), ("xx", "two-letter"), ("", "two-letter"), ("auto", "two-letter")]
)
def test_an_unknown_language_says_what_to_write(code: str, advice: str):
    with pytest.raises(SettingsError, match=advice):
        check_language(code)


def test_a_language_code_is_lowered():
    assert check_language(" DE ") == "de"
