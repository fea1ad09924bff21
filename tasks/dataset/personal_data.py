"""What in a transcript may tell who somebody is or how to reach them: e-mail, telephone, card and account numbers, addresses, names.

Numbers are proven where they can be: telephone numbers by libphonenumber's tables, cards by their check digit, accounts by ISO 7064;
dates, times and numbers that are read aloud pass. Addresses and names are patterns of English, German, Spanish and French: a street with
a number, a name after a title or where somebody introduces themselves. They find what is written as usual, with capitals; a transcript
without any is a question to who wrote it. Nothing is downloaded, and what is found is never written down.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

PERSONAL_DATA_VERSION = 1  # raise it when equal texts would give other findings

_MAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_SPOKEN_MAIL = re.compile(
    r"\b[\w-]+ (?:at|ät|arroba|arobase) (?:[\w-]+ )?[\w-]+ (?:dot|punkt|punto|point) (?:com|org|net|de|es|fr|uk|at|ch|eu|edu|io)\b",
    re.IGNORECASE,
)
_CARD = re.compile(r"(?<!\d)[3-6](?:[ -]?\d){12,18}(?!\d)")
_ACCOUNT = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")
_NUMBER = re.compile(r"(?:\d[ ()/.-]*){7}")
_REGIONS = {"de": ("DE", "AT", "CH"), "en": ("US", "GB"), "es": ("ES", "MX"), "fr": ("FR", "BE")}
_CAPITAL = r"[A-ZÀ-ÖØ-Þ][\w’'-]+"
_STREETS = (
    rf"\b\d{{1,5}}[a-z]? (?:{_CAPITAL} ){{1,3}}(?:Street|St\.|Avenue|Ave\.|Road|Rd\.|Lane|Drive|Boulevard|Square|Court|Terrace)(?!\w)",
    r"\b[A-ZÄÖÜ][\w-]*(?:straße|strasse|str\.|gasse|allee) \d{1,4}[a-z]?\b",
    rf"\b{_CAPITAL} (?:Straße|Strasse|Str\.|Gasse|Allee|Weg|Platz) \d{{1,4}}[a-z]?\b",
    rf"\b\d{{1,4}}(?: bis| ter)?,? (?:rue|avenue|boulevard|place|chemin|impasse|allée|quai) (?:(?:de|du|des|la|le|les|l’|l') ?)*{_CAPITAL}",
    rf"\b(?i:calle|avenida|plaza|paseo|camino) (?:(?:de|del|la|las|los) )*{_CAPITAL}(?: {_CAPITAL})*,? (?:número |n\.º )?\d{{1,4}}\b",
)
_OFFICES = r"(?:Präsident|Doktor|Professor|Minister|Kanzler|Bundes|Bürger|Direktor|President|Speaker|Director|General)"
_NAMES = (
    rf"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof)\.? (?!{_OFFICES}){_CAPITAL}",
    rf"\b(?:Herrn?|Frau) (?:(?:Dr|Prof)\. )*(?!{_OFFICES}){_CAPITAL}",
    rf"\b(?:Sr|Sra|Srta|Don|Doña|[Ss]eñora?|[Ss]eñorita)\.? (?!{_OFFICES}){_CAPITAL}",
    rf"\b(?:M\.|Mme|Mlle|[Mm]onsieur|[Mm]adame|[Mm]ademoiselle) (?!{_OFFICES}){_CAPITAL}",
    rf"\b(?i:my name is|mein name ist|ich heiße|me llamo|mi nombre es|je m[’']appelle|mon nom est) {_CAPITAL}(?: {_CAPITAL})?",
)
_ADDRESS, _NAME = re.compile("|".join(_STREETS)), re.compile("|".join(_NAMES))


class PersonalData(StrEnum):
    """What becomes of a transcript that holds personal data."""

    KEEP = "keep"
    WARN = "warn"
    REPLACE = "replace"
    REFUSE = "refuse"


class Found(NamedTuple):
    """Where in a text, and of which kind; never what."""

    start: int
    end: int
    kind: str


def find_personal_data(text: str, language: str) -> list[Found]:
    """In the order of the text; of what overlaps, what begins first. `language` says whose telephone numbers to expect."""
    found: list[Found] = []
    for one in sorted(_all(text, language)):
        if not found or one.start >= found[-1].end:
            found.append(one)
    return found


def replaced(text: str, found: list[Found]) -> str:
    """The text with its kind in square brackets for each finding: error rates do not count those."""
    pieces, end = [], 0
    for one in found:
        pieces += [text[end : one.start], f"[{one.kind}]"]
        end = one.end
    return "".join([*pieces, text[end:]])


def _all(text: str, language: str) -> Iterator[Found]:
    for kind, pattern in (("e-mail address", _MAIL), ("e-mail address", _SPOKEN_MAIL), ("address", _ADDRESS), ("name", _NAME)):
        yield from (Found(*match.span(), kind) for match in pattern.finditer(text))
    if _NUMBER.search(text):  # the rest needs many digits, and libraries that take their time
        yield from _numbers(text, language)


def _numbers(text: str, language: str) -> Iterator[Found]:
    from phonenumbers import PhoneNumberMatcher
    from stdnum import iban, luhn

    for match in _CARD.finditer(text):
        if luhn.is_valid(re.sub(r"\D", "", match[0])):
            yield Found(*match.span(), "card number")
    for match in _ACCOUNT.finditer(text):
        if iban.is_valid(match[0]):
            yield Found(*match.span(), "account number")
    for region in _REGIONS.get(language, (None,)):
        yield from (Found(one.start, one.end, "telephone number") for one in PhoneNumberMatcher(text, region))
