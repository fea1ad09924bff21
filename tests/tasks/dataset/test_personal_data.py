"""What tells who somebody is is found in four languages; numbers, dates and times that people read aloud are not taken for it."""

from pathlib import Path

import pytest
import soundfile

from tasks.contracts import Refusal
from tasks.dataset.ingest import IngestOptions, ingest
from tasks.dataset.personal_data import PersonalData, find_personal_data, replaced
from tasks.dataset.version import read_rejects, read_utterances
from tests.builders.speech import REAL_SPEECH, voice, write_voices

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("language", "text", "without"),
    [
        ("en", "write to jane.roe@example.org today", "write to [e-mail address] today"),
        ("en", "jane at example dot com is mine", "[e-mail address] is mine"),
        ("de", "anna punkt roth ät beispiel punkt de", "anna punkt [e-mail address]"),
        ("en", "call 202-555-0143 or +44 20 7946 0958", "call [telephone number] or [telephone number]"),
        ("de", "ruf an unter 030 901820", "ruf an unter [telephone number]"),
        ("fr", "mon numéro est le 01 42 68 53 00", "mon numéro est le [telephone number]"),
        ("es", "mi número es 912 345 678", "mi número es [telephone number]"),
        ("en", "my card is 4111 1111 1111 1111 thanks", "my card is [card number] thanks"),
        ("de", "die IBAN ist DE89 3704 0044 0532 0130 00", "die IBAN ist [account number]"),
        ("en", "I live at 12 Old Mill Road in town", "I live at [address] in town"),
        ("de", "sie wohnt in der Goethestraße 5a", "sie wohnt in der [address]"),
        ("fr", "il habite 5 rue de la Paix", "il habite [address]"),
        ("es", "vivo en la calle Mayor 3", "vivo en la [address]"),
        ("en", "good morning Mrs. Miller", "good morning [name]"),
        ("en", "hello, my name is Jane Roe", "hello, [name]"),
        ("de", "guten Tag, ich heiße Anna Roth", "guten Tag, [name]"),
        ("es", "hola, me llamo Juan Pérez", "hola, [name]"),
        ("fr", "bonjour, je m'appelle Marie Curie", "bonjour, [name]"),
    ],
)
def test_it_is_found_and_can_be_replaced(language: str, text: str, without: str):
    assert replaced(text, find_personal_data(text, language)) == without


ORDINARY = {
    "en": [
        "The meeting is on 12 May 2024 at 14:30.",
        "One two three four five six seven eight nine zero.",
        "1 2 3 4 5 6 7 8 9",
        "In 1984 there were 1 250 000 people, 3.14159265 times as many.",
        "He met her at the station dot.",
        "The street is 300 meters long, and the road goes on.",
        "Please press 1 for sales, 2 for support.",
        "12 people live in the old house on the hill.",
        "The President, Mr. President, is here.",
    ],
    "de": [
        "Am 03.10.1990 um 12:00 Uhr.",
        "Null eins zwei drei vier fünf sechs sieben acht neun.",
        "Die Straße ist 300 Meter lang.",
        "Auf Parkplatz 12 steht ein Auto.",
        "Frau Präsidentin, meine Damen und Herren!",
        "Im Jahr 2020 waren es 83 200 000 Menschen.",
        "Ich heiße dich willkommen.",
    ],
    "es": [
        "El 5 de mayo de 2021 a las 10:45.",
        "La calle tiene 300 metros.",
        "uno dos tres cuatro cinco seis siete",
        "El señor está aquí.",
    ],
    "fr": [
        "Le 14 juillet 1789 à 10 h 30.",
        "Il y a 12 rues dans ce village.",
        "un deux trois quatre cinq six",
        "Madame, c'est à vous.",
    ],
}


@pytest.mark.parametrize(("language", "text"), [(language, text) for language, texts in ORDINARY.items() for text in texts])
def test_ordinary_speech_is_no_alarm(language: str, text: str):
    assert find_personal_data(text, language) == []


def test_real_prompts_are_no_alarm():
    texts = [path.read_text() for path in REAL_SPEECH.glob("*.txt")]
    assert len(texts) > 40
    assert [text for text in texts if find_personal_data(text, "en")] == []


@pytest.mark.parametrize("answer", list(PersonalData))
def test_the_setting_decides_what_becomes_of_it(tmp_path: Path, answer: PersonalData):
    source = write_voices(tmp_path / "source", 4)
    soundfile.write(source / "x.wav", voice(40, 2.0), 16_000)
    (source / "x.txt").write_text("wir schreiben anna@example.org")
    options = IngestOptions(language="de", personal_data=answer)
    made = ingest(source, "x", options, tmp_path / "version", 1)
    kept = next((one for one in read_utterances(made) if one.source == "x.wav"), None)
    if answer is PersonalData.REFUSE:
        (refused,) = read_rejects(made)
        assert (kept, refused.kind) == (None, Refusal.PRIVATE)
        assert "example" not in refused.reason
        return
    assert kept.text == ("wir schreiben [e-mail address]" if answer is PersonalData.REPLACE else "wir schreiben anna@example.org")
    private = [warning for warning in kept.warnings if "e-mail" in warning]
    assert private == ([] if answer is PersonalData.KEEP else private[:1])
    assert bool(private) is (answer is not PersonalData.KEEP)


def test_nothing_but_personal_data_is_refused_when_it_would_be_replaced(tmp_path: Path):
    source = write_voices(tmp_path / "source", 4)
    (source / "0.txt").write_text("anna@example.org")
    made = ingest(source, "x", IngestOptions(language="de", personal_data=PersonalData.REPLACE), tmp_path / "version", 1)
    assert [one.kind for one in read_rejects(made)] == [Refusal.PRIVATE]
