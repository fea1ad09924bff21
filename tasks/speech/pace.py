"""Who reads much faster or slower than the others: a transcript that misses half of what is said, or a recording that is cut."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import median

from tasks.contracts import Measurements, Utterance
from tasks.speech.checks import Check

_LEAST_LETTERS, _LEAST_S = 20, 1.5  # in shorter texts, or less speech, one pause makes all the difference
_LEAST_UTTERANCES = 20  # of a speaker, or else of the language, to know what is usual
_UNUSUAL = 1.5  # times as fast, or as slow: of 1,500 real prompts 1 % are, of those with half of their text 97 %


def with_unusual_paces(utterances: Sequence[Utterance]) -> list[Utterance]:
    """The same utterances, with a warning where letters a second of speech are far from the median of the speaker, or the language."""
    by_speaker = _medians((f"{u.language} {u.speaker}", u) for u in utterances if u.speaker)
    by_language = _medians((u.language, u) for u in utterances)
    return [_warned(one, by_speaker.get(f"{one.language} {one.speaker}") or by_language.get(one.language)) for one in utterances]


def _medians(named: Iterable[tuple[str, Utterance]]) -> dict[str, float]:
    paces = defaultdict(list)
    for name, utterance in named:
        if utterance.measured and _letters(utterance.measured) >= _LEAST_LETTERS:
            paces[name].append(utterance.measured.characters_per_s)
    return {name: median(found) for name, found in paces.items() if len(found) >= _LEAST_UTTERANCES}


def _warned(utterance: Utterance, usual: float | None) -> Utterance:
    measured = utterance.measured
    if usual is None or measured is None or not measured.speech_s:
        return utterance
    telling = measured.speech_s >= _LEAST_S or _letters(measured) >= _LEAST_LETTERS
    if not telling or usual / _UNUSUAL <= measured.characters_per_s <= usual * _UNUSUAL:
        return utterance
    warning = f"{Check.PACE}: {measured.characters_per_s:.0f} letters a second of speech, {usual:.0f} are usual here"
    return utterance.model_copy(update={"warnings": (*utterance.warnings, warning)})


def _letters(measured: Measurements) -> float:
    """About how many are spoken; none where there is no speech."""
    return measured.characters_per_s * measured.speech_s
