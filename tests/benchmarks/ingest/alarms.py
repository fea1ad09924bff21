"""False alarms and what is caught, on all prompts of Debian's asterisk-core-sounds packages in English, Spanish and French (8 kHz).

Clean: every prompt that is speech, with its text and language as they come. Damaged: those of 2 s to 30 s with 30 letters or more, each
in one of six ways, among the others. Caught is what is refused, or kept with a warning of that kind; false alarms are refusals of
clean ones.
`python -m tests.benchmarks.ingest.alarms` needs the packages (apt-get install asterisk-core-sounds-{en,es,fr}-wav).
"""

import gzip
import json
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tasks.contracts import SAMPLE_RATE_HZ, Refusal
from tasks.dataset.ingest import IngestOptions, ingest
from tasks.dataset.sources import Reject
from tasks.dataset.version import read_utterances
from tasks.speech.audio import duration_s, read_clip, to_float32

VOICES = {"en": "en_US_f_Allison", "es": "es_MX_f_Allison", "fr": "fr_CA_f_June"}
SOUNDS = Path("/usr/share/asterisk/sounds")
_TEXTS = "/usr/share/doc/asterisk-core-sounds-{0}/core-sounds-{0}.txt.gz"
_LINE = re.compile(r"^([^;:\s][^:]*):\s*(.+)$")
_NEXT = {"en": "fr", "fr": "es", "es": "en"}
_LEAST_S, _LONGEST_S, _LEAST_LETTERS = 2.0, 30.0, 30
FALSE_ALARMS_AT_MOST, CAUGHT_AT_LEAST = 0.01, 0.95


class Prompt(NamedTuple):
    """One recording as its package brings it."""

    path: Path
    text: str
    language: str


class Damage(NamedTuple):
    """What is done to a prompt, and how the checks call it."""

    name: str
    do: Callable[[np.ndarray, str, str, random.Random], tuple[np.ndarray, str, str]]
    called: tuple[str, ...]  # beginnings of warnings, or kinds of refusals


def _clipped(samples: np.ndarray, text: str, language: str, chance: random.Random) -> tuple[np.ndarray, str, str]:
    return np.clip(samples * (4 / np.abs(samples).max()), -1, 1), text, language


def _silent(samples: np.ndarray, text: str, language: str, chance: random.Random) -> tuple[np.ndarray, str, str]:
    return samples * 1e-4, text, language


def _noise(samples: np.ndarray, text: str, language: str, chance: random.Random) -> tuple[np.ndarray, str, str]:
    noise = np.random.default_rng(chance.randrange(2**32)).normal(0, 10 ** chance.uniform(-3, -1), len(samples))
    return noise.astype(np.float32), text, language


def _truncated(samples: np.ndarray, text: str, language: str, chance: random.Random) -> tuple[np.ndarray, str, str]:
    return samples[: len(samples) // 2], text, language


def _half_a_text(samples: np.ndarray, text: str, language: str, chance: random.Random) -> tuple[np.ndarray, str, str]:
    words = text.split()
    return samples, " ".join(words[: len(words) // 2]), language


def _other_language(samples: np.ndarray, text: str, language: str, chance: random.Random) -> tuple[np.ndarray, str, str]:
    return samples, text, _NEXT[language]


DAMAGES = (
    Damage("clipped", _clipped, ("clipped", Refusal.CLIPPED)),
    Damage("silent", _silent, (Refusal.SILENT,)),
    Damage("noise only", _noise, (Refusal.NO_SPEECH, Refusal.SILENT)),
    Damage("truncated", _truncated, ("pace", "cut off", Refusal.PACE)),
    Damage("half the text", _half_a_text, ("pace", Refusal.PACE)),
    Damage("wrong language", _other_language, ("language", Refusal.OTHER_LANGUAGE)),
)


def prompts() -> list[Prompt]:
    """Every prompt that is speech; those whose text says that they are tones or silence are not."""
    found = []
    for language, voice in VOICES.items():
        with gzip.open(_TEXTS.format(language), "rt", encoding="utf-8", errors="replace") as lines:
            named = [match.groups() for line in lines if (match := _LINE.match(line))]
        paths = [(SOUNDS / voice / f"{name}.wav", text.strip()) for name, text in named]
        found += [Prompt(path, text, language) for path, text in paths if path.is_file() and not re.search(r"[\[(<]", text)]
    return found


def measure(folder: Path) -> dict[str, object]:
    """Shares of clean prompts refused and of damaged ones caught, in all and by damage."""
    clean = prompts()
    told = _told(folder / "clean", [_line(one.path, one.text, one.language) for one in clean])
    refused = {name: str(kinds[0]) for name, kinds in told.items() if kinds and isinstance(kinds[0], Refusal)}
    lines, damaged = _damaged(clean, folder / "damaged")
    told = _told(folder / "damaged", lines)
    by_damage, caught = Counter(damage.name for damage in damaged.values()), Counter[str]()
    for name, damage in damaged.items():
        caught[damage.name] += any(one in damage.called for one in told.get(name, ()))
    return {
        "clean": len(clean),
        "false_alarms": round(len(refused) / len(clean), 4),
        "refused_clean": refused,
        "damaged": len(damaged),
        "caught": round(sum(caught.values()) / len(damaged), 4),
        "caught_by_damage": {name: round(caught[name] / number, 3) for name, number in by_damage.items()},
    }


def _line(path: Path, text: str, language: str) -> dict[str, str]:
    return {"audio_path": str(path), "text": text, "language": language, "speaker": language}


def _damaged(clean: list[Prompt], folder: Path) -> tuple[list[dict[str, str]], dict[str, Damage]]:
    """All prompts, those that are long enough damaged in one of the ways, in turn; and in which."""
    import soundfile

    folder.mkdir()
    chance = random.Random(0)
    lines, damaged = [], {}
    for number, one in enumerate(clean):
        samples = to_float32(read_clip(one.path))
        if not _LEAST_S <= duration_s(samples) <= _LONGEST_S or sum(map(str.isalpha, one.text)) < _LEAST_LETTERS:
            lines.append(_line(one.path, one.text, one.language))
            continue
        damage = DAMAGES[len(damaged) % len(DAMAGES)]
        samples, text, language = damage.do(samples, one.text, one.language, chance)
        path = folder / f"{number}.wav"
        soundfile.write(path, samples, SAMPLE_RATE_HZ, subtype="FLOAT")
        lines.append(_line(path, text, language) | {"speaker": one.language})
        damaged[str(path)] = damage
    return lines, damaged


def _told(folder: Path, lines: list[dict[str, str]]) -> dict[str, tuple[str, ...]]:
    """Kind of refusal, or kinds of warnings, of each file about which something was told; a prompt that is there twice is not told of."""
    manifest = folder / "manifest.jsonl"
    folder.mkdir(exist_ok=True)
    manifest.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines))
    version = ingest(manifest, folder.name, IngestOptions(), folder / "version", processes=2)
    with (version.folder / "rejected.jsonl").open(encoding="utf-8") as read:
        rejects = [Reject.model_validate_json(line) for line in read]
    refused = {one.origin.partition(" ")[2]: (one.kind,) for one in rejects if one.kind is not Refusal.DUPLICATE}
    warned = {
        one.source.partition(" ")[2]: tuple(warning.partition(":")[0] for warning in one.warnings)
        for one in read_utterances(version)
    }
    return warned | refused


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        figures = measure(Path(temporary))
    print(json.dumps(figures, indent=2))  # noqa: T201
    sys.exit(figures["false_alarms"] > FALSE_ALARMS_AT_MOST or figures["caught"] < CAUGHT_AT_LEAST)  # type: ignore[operator]
