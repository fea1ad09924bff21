"""Does something stand on both sides? A report for datasets made elsewhere, and for several together.

Compared are the sides of each dataset with each other, and each side with those of every other dataset: named speakers, prompts, and
recordings, equal or nearly. A side is what a row's `split` says, else a manifest's or folder's name if it is one such as train or
test, else the whole. What is set aside is not compared: nobody uses it.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from infra import progress
from infra.errors import SpeechError
from infra.processes import worker_pool
from tasks.contracts import Contract, Split
from tasks.dataset.duplicates import near_pairs
from tasks.dataset.sources import Row, read_source
from tasks.dataset.version import open_version, read_utterances
from tasks.speech.audio import audio_hash, read_clip
from tasks.speech.sound_print import sound_print
from tasks.speech.transcript import normalised_prompt

_SIDES = {"train": "train", "training": "train", "test": "test", "eval": "eval", "evaluation": "eval"} | dict.fromkeys(
    ("dev", "valid", "val", "validation"), "validation"
)
_EXAMPLES = 3
_SHARD_CLIPS = 64


class Leak(Contract):
    """What two sides have in common, of one kind; a few examples of it."""

    one: str
    other: str
    kind: str
    number: int
    examples: tuple[str, ...]


class LeakageReport(Contract):
    """How many utterances each side has, how many recordings could not be read, and what leaks."""

    sides: dict[str, int]
    unread: int
    leaks: tuple[Leak, ...]


class _Heard(NamedTuple):
    side: str
    speaker: str | None
    prompt: str
    origin: str
    audio: Path


def find_leaks(places: Sequence[Path], processes: int) -> LeakageReport:
    """Look for what stands on two sides of dataset versions, folders of audio with transcripts, or manifests.

    Raises:
        DatasetError: one of them is none of that.

    """
    names = [place.name if len({other.name for other in places}) == len(places) else str(place) for place in places]
    heard = [one for place, name in zip(places, names, strict=True) for one in _read(place, name)]
    printed = dict(_printed([one.audio for one in heard], processes))
    sides: dict[str, list[_Heard]] = {}
    for one in heard:
        sides.setdefault(one.side, []).append(one)
    near: dict[str, set[str]] = {}
    for first, second in near_pairs(dict(printed.values())):
        near.setdefault(first, set()).add(second)
        near.setdefault(second, set()).add(first)
    leaks = [leak for one, other in combinations(sides, 2) for leak in _between(sides[one], sides[other], printed, near)]
    return LeakageReport(
        sides={side: len(spoken) for side, spoken in sides.items()},
        unread=len({one.audio for one in heard} - set(printed)),
        leaks=tuple(leaks),
    )


def _between(
    one: Sequence[_Heard], other: Sequence[_Heard], printed: dict[Path, tuple[str, np.ndarray]], near: dict[str, set[str]]
) -> Iterator[Leak]:
    keys: dict[str, Callable[[_Heard], list[str]]] = {
        "speakers": lambda heard: [heard.speaker] if heard.speaker else [],
        "prompts": lambda heard: [heard.prompt],
        "equal recordings": lambda heard: [printed[heard.audio][0]] if heard.audio in printed else [],
    }
    for kind, key in keys.items():
        common = {value for heard in one for value in key(heard)} & {value for heard in other for value in key(heard)}
        shown = common if kind in ("speakers", "prompts") else _origins(other, common, printed)
        if common:
            yield _leak(one, other, kind, len(common), shown)
    sounds = {printed[heard.audio][0] for heard in one if heard.audio in printed}
    alike = {name for sound in sounds for name in near.get(sound, ())}
    common = alike.intersection(printed[heard.audio][0] for heard in other if heard.audio in printed)
    if common:
        yield _leak(one, other, "nearly equal recordings", len(common), _origins(other, common, printed))


def _leak(one: Sequence[_Heard], other: Sequence[_Heard], kind: str, number: int, shown: set[str]) -> Leak:
    return Leak(one=one[0].side, other=other[0].side, kind=kind, number=number, examples=tuple(sorted(shown)[:_EXAMPLES]))


def _origins(heard: Sequence[_Heard], sounds: set[str], printed: dict[Path, tuple[str, np.ndarray]]) -> set[str]:
    return {one.origin for one in heard if one.audio in printed and printed[one.audio][0] in sounds}


def _read(place: Path, name: str) -> Iterator[_Heard]:
    if (place / "dataset.json").is_file():
        version = open_version(place)
        for one in read_utterances(version):
            if one.split is not Split.SET_ASIDE:
                prompt = f"{one.language} {normalised_prompt(one.text)}"
                yield _Heard(f"{name} {one.split}", one.speaker, prompt, one.source, version.folder / one.audio_path)
        return
    rows, _ = read_source(place)
    for row in rows:
        prompt = f"{row.language or ''} {normalised_prompt(row.text)}".strip()
        yield _Heard(f"{name} {_side(row, place)}".strip(), row.speaker, prompt, row.origin, Path(row.audio_path))


def _side(row: Row, place: Path) -> str:
    if row.split:
        return _SIDES.get(row.split.lower(), row.split)
    words = [word.lower() for part in (row.origin, *_folders(row, place)) for word in re.split(r"[\W_]+", part)]
    return next((_SIDES[word] for word in words if word in _SIDES), "")


def _folders(row: Row, place: Path) -> tuple[str, ...]:
    folder = Path(row.audio_path).parent
    return folder.relative_to(place).parts if folder.is_relative_to(place) else ()


def _printed(paths: Sequence[Path], processes: int) -> Iterator[tuple[Path, tuple[str, np.ndarray]]]:
    """Hash and print of each recording that can be read."""
    different = list(dict.fromkeys(paths))
    shards = [different[start : start + _SHARD_CLIPS] for start in range(0, len(different), _SHARD_CLIPS)]
    done = 0
    with worker_pool(max(1, min(processes, len(shards)))) as pool:
        for shard in pool.map(_print_shard, shards):
            yield from shard
            done += len(shard)
            progress.report("listen", done, len(different))


def _print_shard(paths: Sequence[Path]) -> list[tuple[Path, tuple[str, np.ndarray]]]:
    printed = []
    for path in paths:
        try:
            samples = read_clip(path)
        except SpeechError:
            continue
        printed.append((path, (audio_hash(samples), sound_print(samples))))
    return printed
