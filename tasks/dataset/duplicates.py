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
from tasks.speech.sound_print import BITS, LEAST_OF_SHORTER, likeness
from tasks.speech.transcript import normalised_prompt

_BATCH_CLIPS = 20_000  # whose words are held in memory: 40 MB
_QUERY_CLIPS = 2_000
_COMMON = 200  # places of a word
_LOW_BITS = 0xFFFF
_CLIP_BITS, _SHIFT_BITS = 20, 20  # a million clips at once, and prints of hours
_NO_SHIFT = 1 << _SHIFT_BITS - 1
_SHIFTS_AROUND = (0, -1, 1)
_AT_ONCE = 20_000  # candidates
_SAMPLED = 64  # frames
_SURELY_ANOTHER = 0.27  # of their bits are wrong: `likeness` asks for 0.2 of all, and other recordings have half
_SURELY_TOO_LITTLE = 0.7  # of what it asks to be heard in both


class _Prints(NamedTuple):
    """Prints one after the other, where each begins and ends, and how many frames of it are heard."""

    words: np.ndarray  # uint32 (frames of all,)
    starts: np.ndarray  # int64 (n + 1,)
    heard: np.ndarray  # int64 (n,)

    def of(self, number: int) -> np.ndarray:
        """One of them."""
        return self.words[self.starts[number] : self.starts[number + 1]]


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
    own = _joined(prints.values())
    compared = own if others is None else _joined(others.values())
    index = _sorted(_words(own, None))
    known = np.zeros(_LOW_BITS + 1, bool)
    known[index.words & _LOW_BITS] = True
    candidates = _candidates(index, index if others is None else _words(compared, known), each_once=others is None)
    found: set[tuple[int, int]] = set()
    for some in np.array_split(candidates, len(candidates) // _AT_ONCE + 1):
        for one, other, shift in _plausible(some, own, compared).tolist():
            if (one, other) not in found and likeness(own.of(one), compared.of(other), shift).same:
                found.add((one, other))
    return ((names[one], other_names[other]) for one, other in sorted(found))


def _joined(prints: Iterable[np.ndarray]) -> _Prints:
    every = list(prints)
    starts = np.cumsum([0, *map(len, every)])
    words = np.concatenate([*every, np.zeros(0, np.uint32)])
    return _Prints(words, starts, np.diff(np.concatenate([[0], np.cumsum(words != 0)])[starts]))


def _words(prints: _Prints, known: np.ndarray | None) -> _Words:
    """The words in which something is heard; of all those only what may be `known`, by its low bits: most is not."""
    wanted = prints.words != 0
    if known is not None:
        wanted &= known[prints.words & _LOW_BITS]
    places = np.flatnonzero(wanted)
    clips = np.searchsorted(prints.starts, places, "right") - 1
    return _Words(prints.words[places], clips.astype(np.int32), (places - prints.starts[clips]).astype(np.int32))


def _sorted(found: _Words) -> _Words:
    order = np.argsort(found.words, kind="stable")
    return _Words(*(values[order] for values in found))


def _candidates(index: _Words, asked: _Words, each_once: bool) -> np.ndarray:
    """Clip of the index, clip that is asked about, and shift in frames, where two words agree in (nearly) the same shift: (n, 3).

    Where clips are asked about that are in the index themselves, each pair comes once.
    """
    first = np.searchsorted(index.words, asked.words, "left")
    count = np.searchsorted(index.words, asked.words, "right") - first
    count[count > _COMMON] = 0
    places = np.repeat(first - np.concatenate([[0], np.cumsum(count)[:-1]]), count) + np.arange(count.sum())
    ones, others = index.clips[places].astype(np.int64), np.repeat(asked.clips, count).astype(np.int64)
    shifts = index.frames[places] - np.repeat(asked.frames, count)
    key = ((ones << _CLIP_BITS | others) << _SHIFT_BITS) + shifts + _NO_SHIFT  # one number, since it sorts ten times as fast
    key = np.sort(key[ones < others] if each_once else key)
    near = key[1:] - key[:-1] <= 1
    agree = np.unique(key[1:][near])
    pairs = agree >> _SHIFT_BITS
    return np.stack([pairs >> _CLIP_BITS, pairs & (1 << _CLIP_BITS) - 1, (agree & 2 * _NO_SHIFT - 1) - _NO_SHIFT], axis=1)


def _plausible(candidates: np.ndarray, own: _Prints, compared: _Prints) -> np.ndarray:
    """Those of them that are worth a comparison of all their frames, at the best shift nearby: (m, 3).

    Those that have too little in common, or of which a few frames differ as much as those of other recordings do, are not.
    """
    ones, others, shifts = (column.astype(np.int64) for column in candidates.T)
    lengths = np.diff(own.starts)[ones], np.diff(compared.starts)[others]
    least = np.minimum(own.heard[ones], compared.heard[others]) * LEAST_OF_SHORTER
    sampled = (np.arange(_SAMPLED) + 0.5) / _SAMPLED
    wrong = np.ones((len(_SHIFTS_AROUND), len(candidates)))
    for bits, near in zip(wrong, _SHIFTS_AROUND, strict=True):
        first, second = np.maximum(shifts + near, 0), np.maximum(-shifts - near, 0)
        common = np.minimum(lengths[0] - first, lengths[1] - second)
        enough = np.flatnonzero(common >= np.maximum(least, 1))
        frames = (common[enough, None] * sampled).astype(np.int64)
        a = own.words[(own.starts[ones] + first)[enough, None] + frames]
        b = compared.words[(compared.starts[others] + second)[enough, None] + frames]
        both = (a != 0) & (b != 0)
        heard = both.sum(axis=1)
        likely = heard / _SAMPLED * common[enough] >= _SURELY_TOO_LITTLE * least[enough]
        bits[enough[likely]] = (np.bitwise_count(a ^ b) * both).sum(axis=1)[likely] / (BITS * np.maximum(heard, 1))[likely]
    best = np.stack([ones, others, shifts + np.array(_SHIFTS_AROUND)[wrong.argmin(axis=0)]], axis=1)
    return best[wrong.min(axis=0) <= _SURELY_ANOTHER]


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
