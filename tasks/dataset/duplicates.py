"""Recordings that are nearly the same: found by words of their prints that are equal, proven by comparing the prints.

An inverted index holds the words of what is new; what was compared before is streamed past it, so that adding little to much costs
little. A word that stands in hundreds of clips that are new together tells nothing and is passed over: a jingle that opens every clip
does not make them one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from infra import progress
from tasks.contracts import Refusal, Utterance
from tasks.dataset.clips import ClipStore
from tasks.dataset.sources import Reject
from tasks.speech.sound_print import likeness
from tasks.speech.transcript import normalised_prompt

_BATCH_CLIPS = 20_000  # whose words are held in memory: 40 MB
_QUERY_CLIPS = 2_000
_COMMON = 200  # places of a word
_LOW_BITS = 0xFFFF


class _Words(NamedTuple):
    """Words of many prints, the clip that each stands in, and the frame; sorted by word where they are an index."""

    words: np.ndarray  # uint32 (n,)
    clips: np.ndarray  # int32 (n,)
    frames: np.ndarray  # int32 (n,)


def compare_new(store: ClipStore) -> None:
    """Compare every clip of the store that is not compared yet with all others; what was found is kept, a batch at a time."""
    while new := store.prints_to_compare(_BATCH_CLIPS):
        pairs = list(near_pairs(new))
        for old in store.compared_prints(_QUERY_CLIPS):
            pairs += near_pairs(new, old)
        store.remember_near(pairs, new)
        progress.report("compare", len(new), len(new), f"{len(pairs)} nearly the same")


def near_pairs(prints: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray] | None = None) -> Iterator[tuple[str, str]]:
    """Pairs of names whose prints tell of one recording: among all of `prints`, or of each of them with each of `others`."""
    names, other_names = list(prints), list(prints if others is None else others)
    compared = list((prints if others is None else others).values())
    own = list(prints.values())
    index = _sorted(_words(own, None))
    known = np.zeros(_LOW_BITS + 1, bool)
    known[index.words & _LOW_BITS] = True
    found: set[tuple[int, int]] = set()
    for one, other, shift in _candidates(index, _words(compared, known)):
        if others is None and one >= other:
            continue
        if (one, other) not in found and any(likeness(own[one], compared[other], shift + near).same for near in (0, -1, 1)):
            found.add((one, other))
    return ((names[one], other_names[other]) for one, other in sorted(found))


def _words(prints: Sequence[np.ndarray], known: np.ndarray | None) -> _Words:
    """The words in which something is heard; of all those only what may be `known`, by its low bits: most is not."""
    ends = np.cumsum([0, *(len(words) for words in prints)])
    words = np.concatenate([*prints, np.zeros(0, np.uint32)])
    wanted = words != 0
    if known is not None:
        wanted &= known[words & _LOW_BITS]
    places = np.flatnonzero(wanted)
    clips = np.searchsorted(ends, places, "right") - 1
    return _Words(words[places], clips.astype(np.int32), (places - ends[clips]).astype(np.int32))


def _sorted(found: _Words) -> _Words:
    order = np.argsort(found.words, kind="stable")
    return _Words(*(values[order] for values in found))


def _candidates(index: _Words, asked: _Words) -> Iterator[tuple[int, int, int]]:
    """Clip of the index, clip that is asked about, and shift in frames, where two words agree in (nearly) the same shift."""
    first = np.searchsorted(index.words, asked.words, "left")
    count = np.searchsorted(index.words, asked.words, "right") - first
    count[count > _COMMON] = 0
    places = np.repeat(first - np.concatenate([[0], np.cumsum(count)[:-1]]), count) + np.arange(count.sum())
    ones, others = index.clips[places], np.repeat(asked.clips, count)
    shifts = index.frames[places] - np.repeat(asked.frames, count)
    order = np.lexsort((shifts, others, ones))
    ones, others, shifts = ones[order], others[order], shifts[order]
    agree = (ones[1:] == ones[:-1]) & (others[1:] == others[:-1]) & (shifts[1:] - shifts[:-1] <= 1)
    rows = np.stack([ones[1:][agree], others[1:][agree], shifts[1:][agree]], axis=1)
    yield from map(tuple, np.unique(rows, axis=0).tolist())


def groups_of(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The group of each name that hangs together with another: the least name in it."""
    above: dict[str, str] = {}

    def root(name: str) -> str:
        while above.setdefault(name, name) != name:
            above[name] = above[above[name]]
            name = above[name]
        return name

    for one, other in pairs:
        low, high = sorted((root(one), root(other)))
        above[high] = low
    return {name: root(name) for name in above}


def without_near_duplicates(
    utterances: Sequence[Utterance], pairs: Iterable[tuple[str, str]], kept_before: set[str]
) -> tuple[list[Utterance], list[Reject]]:
    """Keep one of those that sound nearly the same and say the same: the one of the version before, else the first.

    Those that say something else are kept with a warning: one of their texts may be wrong.

    Args:
        utterances: no two alike in sound and text.
        pairs: hashes of recordings that are nearly the same.
        kept_before: ids in the version before.

    """
    near: dict[str, set[str]] = {}
    for first, second in pairs:
        near.setdefault(first, set()).add(second)
        near.setdefault(second, set()).add(first)
    spoken: dict[str, list[Utterance]] = {}
    kept: dict[str, Utterance] = {}
    rejects: dict[str, Reject] = {}
    for one in sorted(utterances, key=lambda utterance: utterance.id not in kept_before):  # stable: the first of equals is first
        alike = [other for audio in (one.audio_hash, *sorted(near.get(one.audio_hash, ()))) for other in spoken.get(audio, ())]
        same = next((other for other in alike if _prompt(other) == _prompt(one)), None)
        if same:
            reason = f"Nearly equal in sound, and equal in words, to {same.source}"
            rejects[one.id] = Reject(origin=one.source, reason=reason, kind=Refusal.DUPLICATE)
            continue
        spoken.setdefault(one.audio_hash, []).append(one)
        warnings = [f"same recording: it sounds like {other.source}, where something else is said" for other in alike]
        kept[one.id] = one.model_copy(update={"warnings": (*one.warnings, *warnings)}) if warnings else one
    return [kept[one.id] for one in utterances if one.id in kept], [rejects[one.id] for one in utterances if one.id in rejects]


def _prompt(utterance: Utterance) -> tuple[str, str]:
    return utterance.language, normalised_prompt(utterance.text)
