"""A transcript: cleaned, checked, and reduced to the prompt that it was read from."""

import re
import unicodedata
from functools import lru_cache

from infra.errors import SettingsError, SpeechError
from tasks.contracts import Refusal

_SPACE = re.compile(r"\s+")
_NOT_WORDS = re.compile(r"\[.*?\]|\(.*?\)|<.*?>")  # "(laughs)": error rates do not count what stands in brackets
_NOT_SPOKEN = re.compile(r"[^\w\s]|_")


def clean_transcript(text: str) -> str:
    """NFC, white space collapsed and stripped; the words are left as they are.

    Raises:
        SpeechError: nothing that could be spoken is left, or it contains control characters.

    """
    cleaned = _SPACE.sub(" ", unicodedata.normalize("NFC", text)).strip()
    if any(unicodedata.category(character) in ("Cc", "Cs", "Co") for character in cleaned):
        raise SpeechError("The transcript contains control characters", "Save it as plain UTF-8 text", Refusal.UNREADABLE)
    if not has_words(cleaned):
        raise SpeechError(
            "The transcript is empty" if not cleaned else f"The transcript {cleaned!r} has no word in it",
            "Write what is said",
            Refusal.NO_TRANSCRIPT,
        )
    return cleaned


def has_words(text: str) -> bool:
    """Whether anything in it is spoken: what stands in brackets is not."""
    return any(character.isalnum() for character in _NOT_WORDS.sub(" ", text))


@lru_cache(maxsize=1 << 17)  # it is asked for thrice in an ingestion
def normalised_prompt(text: str) -> str:
    """What was read aloud, whatever its case and punctuation: the unit that may not stand on both sides of a split."""
    return _SPACE.sub(" ", _NOT_SPOKEN.sub(" ", unicodedata.normalize("NFKC", text).casefold())).strip()


def check_language(code: str) -> str:
    """An ISO 639-1 code in lower case, as Voxtral's prompt takes it.

    Raises:
        SettingsError: it is not one; names what it may have been.

    """
    import pycountry

    wanted = code.strip().lower()
    if len(wanted) == 2 and pycountry.languages.get(alpha_2=wanted):
        return wanted
    known = pycountry.languages.get(alpha_3=wanted) or pycountry.languages.get(name=wanted.title())
    hint = getattr(known, "alpha_2", None)
    advice = f"Write {hint!r}" if hint else "Use a two-letter ISO 639-1 code such as en, de or hi"
    raise SettingsError(f"{code!r} is not a language code that Voxtral knows", advice)
