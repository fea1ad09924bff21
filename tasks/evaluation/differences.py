"""Where two models differ: word by word, and by who spoke, for how long, in what noise, and in which manifest it came."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from tasks.contracts import Utterance
from tasks.speech.error_rates import ErrorCounts, normalise

_LENGTHS_S = (2.0, 5.0, 10.0, 20.0)
_NOISE_DB = (10.0, 20.0, 30.0)
_NOISES = ("speech under 10 dB above the noise", "10 to 20 dB", "20 to 30 dB", "30 dB and more", "no pause to measure it in")

_IN_MANIFEST = re.compile(r"^(.+?)(?::\d+| row \d+) ")  # as ingestion writes where an utterance came from


class Segment(NamedTuple):
    """Words of a reference, and what was heard instead; one of them is empty where words were left out or put in."""

    kind: Literal["equal", "substitute", "delete", "insert"]
    spoken: tuple[str, ...]
    heard: tuple[str, ...]


class Group(NamedTuple):
    """Utterances that have something in common, with the word error rates of both models, as fractions."""

    name: str
    utterances: int
    words: int
    wer_base: float
    wer_tuned: float


def aligned(reference: str, hypothesis: str) -> list[Segment]:
    """The normalised texts, side by side, with as few errors as possible; the reference has words."""
    import jiwer

    output = jiwer.process_words(normalise(reference), normalise(hypothesis))
    spoken, heard = output.references[0], output.hypotheses[0]
    return [
        Segment(
            chunk.type,
            tuple(spoken[chunk.ref_start_idx : chunk.ref_end_idx]),
            tuple(heard[chunk.hyp_start_idx : chunk.hyp_end_idx]),
        )
        for chunk in output.alignments[0]
    ]


def confusions(alignments: Iterable[Sequence[Segment]]) -> Counter[tuple[str, str]]:
    """How often each word was heard as each other; the second is empty where it was left out, the first where it was put in."""
    found: Counter[tuple[str, str]] = Counter()
    for segment in (segment for segments in alignments for segment in segments if segment.kind != "equal"):
        missing = max(len(segment.spoken), len(segment.heard))
        spoken = (*segment.spoken, *[""] * (missing - len(segment.spoken)))
        heard = (*segment.heard, *[""] * (missing - len(segment.heard)))
        found.update(zip(spoken, heard, strict=True))
    return found


def by_speaker(utterances: Sequence[Utterance], base: ErrorCounts, tuned: ErrorCounts) -> list[Group]:
    """A group a speaker, the one on whom tuned is worst first; none where no speaker is named."""
    if not any(utterance.speaker for utterance in utterances):
        return []
    groups = _groups(utterances, base, tuned, lambda utterance: utterance.speaker or "unnamed")
    return sorted(groups, key=lambda group: -group.wer_tuned)


def by_length(utterances: Sequence[Utterance], base: ErrorCounts, tuned: ErrorCounts) -> list[Group]:
    """Groups of like length, the shortest first."""
    return _groups(utterances, base, tuned, lambda utterance: _length(utterance.duration_s))


def by_noise(utterances: Sequence[Utterance], base: ErrorCounts, tuned: ErrorCounts) -> list[Group]:
    """Groups of like noise, the loudest first; those without a pause in which it could be measured last, and none if that are all."""
    groups = {group.name: group for group in _groups(utterances, base, tuned, _noise)}
    named = [groups[name] for name in _NOISES if name in groups]
    return named if any(group.name != _NOISES[-1] for group in named) else []


def by_source(utterances: Sequence[Utterance], base: ErrorCounts, tuned: ErrorCounts) -> list[Group]:
    """A group for each manifest that the utterances came in, by name; none where they came in one, or beside text files."""
    groups = _groups(utterances, base, tuned, _manifest)
    return sorted(groups, key=lambda group: group.name) if len(groups) > 1 else []


def _manifest(utterance: Utterance) -> str:
    named = _IN_MANIFEST.match(utterance.source)
    return named[1] if named else "beside text files"


def _noise(utterance: Utterance) -> str:
    snr_db = utterance.measured.snr_db if utterance.measured else None
    return _NOISES[-1] if snr_db is None else _NOISES[sum(snr_db >= limit for limit in _NOISE_DB)]


def _length(seconds: float) -> str:
    place = sum(seconds >= limit for limit in _LENGTHS_S)
    if place == 0:
        return f"under {_LENGTHS_S[0]:g} s"
    if place == len(_LENGTHS_S):
        return f"{_LENGTHS_S[-1]:g} s and more"
    return f"{_LENGTHS_S[place - 1]:g} to {_LENGTHS_S[place]:g} s"


def _groups(
    utterances: Sequence[Utterance], base: ErrorCounts, tuned: ErrorCounts, name: Callable[[Utterance], str]
) -> list[Group]:
    places: dict[str, list[int]] = {}
    for place in sorted(range(len(utterances)), key=lambda place: utterances[place].duration_s):
        places.setdefault(name(utterances[place]), []).append(place)
    made = []
    for called, of_group in places.items():
        chosen = np.array(of_group)
        words = int(base.words[chosen].sum())
        rates = [float(counts.word_errors[chosen].sum() / words) for counts in (base, tuned)]
        made.append(Group(called, len(chosen), words, *rates))
    return made
