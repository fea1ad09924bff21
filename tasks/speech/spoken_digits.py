"""Digit strings read aloud by synthetic voices: a small closed task in which a tiny model can reach a low error rate.

A voice is a speaker; its clips differ in rate and pitch, as a person's do, and do not all begin at once.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from infra import progress
from infra.storage import content_hash, new_folder, write_text
from tasks.speech.synthesis import SYNTHESIS_VERSION, VOICE_VARIANTS, Line, Voice, synthesise_many

DIGITS: dict[str, tuple[str, ...]] = {
    "de": ("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"),
    "en": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "es": ("cero", "uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve"),
    "it": ("zero", "uno", "due", "tre", "quattro", "cinque", "sei", "sette", "otto", "nove"),
    "nl": ("nul", "een", "twee", "drie", "vier", "vijf", "zes", "zeven", "acht", "negen"),
}
LONGEST_STRING = 5  # digits; slow voices then still end within the tiny model's window of 4 s


def digit_lines(language: str, clips: int, folder: Path, seed: int, voices: Sequence[str] = VOICE_VARIANTS) -> list[Line]:
    """Plan `clips` utterances of one to five digits, dealt to the voices in turn; no two say the same.

    The plan is a function of the arguments alone. Clips are spoken at 120 to 200 words a minute, at a pitch of 30 to 70 (of 100), and
    begin after up to 0.4 s of silence.
    """
    draw = random.Random(f"{seed} {language}")
    texts: dict[str, None] = {}  # an ordered set
    while len(texts) < clips:
        texts[" ".join(draw.choices(DIGITS[language], k=draw.randint(1, LONGEST_STRING)))] = None
    lines = []
    for number, text in enumerate(texts):
        variant = voices[number % len(voices)]
        voice = Voice(variant, draw.randint(120, 200), draw.randint(30, 70))
        pause_s = round(draw.uniform(0, 0.4), 3)
        lines.append(Line(text, language, voice, folder / f"{language}-{number:05d}.wav", pause_s))
    return lines


def make_corpus(lines: Sequence[Line], folder: Path, name: str, processes: int) -> Path:
    """The lines as a corpus below `folder`, spoken once: it is named after everything that makes it."""
    described = [[line.text, line.language, repr(line.voice), line.pause_s] for line in lines]
    corpus = folder / f"{name}-{content_hash(SYNTHESIS_VERSION, described)[:12]}"
    return corpus if corpus.exists() else write_corpus(lines, corpus, processes)


def write_corpus(lines: Sequence[Line], folder: Path, processes: int) -> Path:
    """Speak the lines into a folder with a manifest in NeMo's keys, as a user would bring it; returns the folder."""
    with new_folder(folder) as unfinished:
        placed = [replace(line, path=unfinished / line.path.name) for line in lines]
        for done in synthesise_many(placed, processes):
            progress.report("synthesise", done, len(lines))
        rows = [
            {"audio_filepath": line.path.name, "text": line.text, "language": line.language, "speaker": line.voice.variant}
            for line in lines
        ]
        write_text(unfinished / "manifest.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return folder
