"""Train and eval, divided before anything sees the data.

Invariant: no named speaker (where two or more are named), no prompt and no recording, nor one that is nearly the same, stands on both
sides; every language with two or more speakers (or prompts) has both sides, where speakers of several languages leave it possible; and
what stood on a side in the version before stays there. The price is that some utterances stand on neither: they are set aside, counted,
and kept. Membership is decided by a hash of the seed and the speaker (or prompt), so that adding data moves nobody by itself; what is
new and would leak is set aside, never what was there.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from infra.errors import DatasetError
from tasks.contracts import Split, Utterance
from tasks.speech.transcript import normalised_prompt

BY_SPEAKERS, BY_PROMPTS, BY_BOTH = "speakers", "prompts", "speakers and prompts"
_OTHER = {Split.TRAIN: Split.EVAL, Split.EVAL: Split.TRAIN}
_SPEAKERS_TO_DIVIDE = 2
_TOLERATED_LOSS = 0.5  # of a language's training side, before its prompts are divided too


class Before(NamedTuple):
    """How the version before was divided: its rule, and the side of every utterance, speaker, prompt and recording."""

    rule: str
    utterances: Mapping[str, Split]
    speakers: Mapping[str, Split]
    prompts: Mapping[str, Split]
    recordings: Mapping[str, Split]


class _Known(NamedTuple):
    """What is decided about, one value an utterance."""

    units: list[str]  # what goes to one side as a whole: a speaker, or the prompt of somebody unnamed
    prompts: list[str]
    recordings: list[str]
    languages: list[str]
    fixed: list[Split | None]
    new: list[int]  # places of those whose side is not fixed


def division_before(utterances: Iterable[Utterance], rule: str, names: Mapping[str, str] | None = None) -> Before:
    """The sides of a version, to be kept in the next one; its speakers under their names, where these are given by pseudonym."""
    names = names or {}
    before = Before(rule, {}, {}, {}, {})
    sides: tuple[dict[str, Split], ...] = ({}, {}, {}, {})
    for one in utterances:
        who = names.get(one.speaker, one.speaker) if one.speaker else None
        for of, key in zip(sides, (one.id, who, _prompt(one), one.audio_hash), strict=True):
            if key is not None and (of is sides[0] or one.split is not Split.SET_ASIDE):
                of[key] = one.split
    return before._replace(utterances=sides[0], speakers=sides[1], prompts=sides[2], recordings=sides[3])


def split_utterances(
    utterances: Sequence[Utterance],
    eval_share: float,
    seed: int,
    before: Before | None = None,
    recordings: Mapping[str, str] | None = None,
    speakers: Mapping[str, str | None] | None = None,
) -> tuple[list[Utterance], str]:
    """Give every utterance its side.

    Speakers are divided when there are two or more; prompts when there is one speaker, or, in a language, when speakers read the same
    prompts so often that its training side would lose half of its utterances. The rule of the version before stays: prompts are not
    divided by speakers later on. Where keeping its sides would leave one empty, everything is divided anew.

    Args:
        utterances: at least two, which do not all say the same.
        eval_share: of the speakers or prompts.
        seed: which those are.
        before: the sides of the version before.
        recordings: names of groups of recordings that are nearly the same, by audio hash; the others are alone.
        speakers: under which name each utterance's speaker is divided, by id; default: as it says itself.

    Returns:
        The utterances in their order with `split` set, and the rule that was used.

    Raises:
        DatasetError: fewer than two utterances, or one prompt only, or all hang together.

    """
    if len(utterances) < 2:
        raise DatasetError(
            f"{len(utterances)} usable utterance cannot be divided into training and evaluation",
            "Add at least one more utterance",
        )
    names = [speakers[one.id] if speakers else one.speaker for one in utterances]
    known = _known(utterances, names, before, recordings or {})
    if len(set(known.prompts)) < 2:
        raise DatasetError("All utterances say the same", "Add utterances with other words")
    sides, rule = _divided(utterances, known, len({name for name in names if name}), eval_share, seed, before)
    if before and not _has_both(sides):
        return split_utterances(utterances, eval_share, seed, None, recordings, speakers)
    if not _has_both(sides):
        empty = Split.TRAIN if Split.TRAIN not in sides else Split.EVAL
        raise DatasetError(f"No utterance is left for {empty}", "Add utterances with other speakers and other words")
    divided = [
        utterance if utterance.split is side else utterance.model_copy(update={"split": side})  # a copy costs a kilobyte
        for utterance, side in zip(utterances, sides, strict=True)
    ]
    return divided, rule


def _known(
    utterances: Sequence[Utterance], names: Sequence[str | None], before: Before | None, recordings: Mapping[str, str]
) -> _Known:
    prompts = [_prompt(utterance) for utterance in utterances]
    fixed = [before.utterances.get(one.id) if before else None for one in utterances]
    return _Known(
        units=[f"speaker {name}" if name else prompt for name, prompt in zip(names, prompts, strict=True)],
        prompts=prompts,
        recordings=[recordings.get(one.audio_hash, one.audio_hash) for one in utterances],
        languages=[one.language for one in utterances],
        fixed=fixed,
        new=[place for place, side in enumerate(fixed) if side is None],
    )


def _divided(
    utterances: Sequence[Utterance], known: _Known, speakers: int, share: float, seed: int, before: Before | None
) -> tuple[list[Split], str]:
    """Sides without a leak, and the rule; either may be empty."""
    old_prompts = before.prompts if before else {}
    prompt_held = _held_out(known.prompts, known.languages, share, seed, old_prompts)
    stayed = [before.recordings.get(one.audio_hash) if before else None for one in utterances]
    by_prompts = _tentative([Split.EVAL if held else Split.TRAIN for held in prompt_held], known, stayed)
    if speakers < _SPEAKERS_TO_DIVIDE or (before and before.rule == BY_PROMPTS):
        return _without_leaks(by_prompts, known._replace(units=known.prompts)), BY_PROMPTS
    # Somebody unnamed may be any of the speakers: nothing but his prompt can tell on which side he stands.
    old_units = {**old_prompts, **{f"speaker {name}": side for name, side in (before.speakers if before else {}).items()}}
    unit_held = _held_out(known.units, known.languages, share, seed, old_units)
    agreed = {(True, True): Split.EVAL, (False, False): Split.TRAIN}
    pairs = [agreed.get(pair, Split.SET_ASIDE) for pair in zip(unit_held, prompt_held, strict=True)]
    by_units = _tentative([Split.EVAL if held else Split.TRAIN for held in unit_held], known, stayed)
    by_both = _tentative(pairs, known, stayed)
    wasteful = _wasteful(_without_leaks(by_units, known), _without_leaks(by_both, known), known)
    mixed = [both if code in wasteful else unit for unit, both, code in zip(by_units, by_both, known.languages, strict=True)]
    return _without_leaks(mixed, known), BY_BOTH if wasteful else BY_SPEAKERS


def _tentative(sides: Sequence[Split], known: _Known, stayed: Sequence[Split | None]) -> list[Split]:
    """The sides of the version before, and those wanted for what is new: a recording whose text was corrected stays where it was."""
    return [fixed or old or side for fixed, old, side in zip(known.fixed, stayed, sides, strict=True)]


def _wasteful(by_units: Sequence[Split], by_both: Sequence[Split], known: _Known) -> set[str]:
    """The languages that lose too much of their training side to prompts that are read on the other one, and would lose less."""
    codes = set(known.languages)

    def of(code: str, sides: Sequence[Split]) -> list[Split]:
        return [side for side, language in zip(sides, known.languages, strict=True) if language == code]

    def loses(sides: list[Split]) -> bool:
        return sides.count(Split.TRAIN) < (1 - _TOLERATED_LOSS) * (len(sides) - sides.count(Split.EVAL))

    return {code for code in codes if loses(of(code, by_units)) and _has_both(of(code, by_both))}


def _has_both(sides: Sequence[Split]) -> bool:
    return Split.TRAIN in sides and Split.EVAL in sides


def _prompt(utterance: Utterance) -> str:
    return f"{utterance.language} {normalised_prompt(utterance.text)}"


def _held_out(units: Sequence[str], languages: Sequence[str], share: float, seed: int, old: Mapping[str, Split]) -> list[bool]:
    """Whether each unit is held out: as before, else if its hash falls below the share; every language gets both sides if it can."""
    spoken: dict[str, set[str]] = defaultdict(set)
    for unit, code in zip(units, languages, strict=True):
        spoken[code].add(unit)
    place = {unit: _position(seed, unit) for unit in set(units)}
    held = {unit for unit in place if (old[unit] is Split.EVAL if unit in old else place[unit] < share)}
    # Those with few speakers first: they have the least choice. All together at last, if no language has two.
    groups = [*sorted(spoken.values(), key=lambda group: (len(group), min(group))), set(place)]
    for group in groups:
        _give_both_sides(sorted(group, key=lambda unit: place[unit]), held, groups, old)
    return [unit in held for unit in units]


def _give_both_sides(group: Sequence[str], held: set[str], groups: Sequence[set[str]], old: Mapping[str, Split]) -> None:
    """Move the unit that is nearest to the limit over it, if all of a group stand on one side and no other group loses its last one."""

    def spares(unit: str, stays: Callable[[str], bool]) -> bool:
        return all(any(stays(other) for other in one - {unit}) for one in groups if unit in one and len(one) > 1)

    if len(group) < 2:
        return
    if not held.intersection(group):
        moved = next((u for u in group if u not in old and spares(u, lambda other: other not in held)), None)
        held |= {moved} if moved else set()
    elif held.issuperset(group):
        moved = next((u for u in reversed(group) if u not in old and spares(u, lambda other: other in held)), None)
        held -= {moved} if moved else set()


def _position(seed: int, unit: str) -> float:
    digest = hashlib.sha256(f"{seed} {unit.removeprefix('speaker ')}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _without_leaks(sides: Sequence[Split], known: _Known) -> list[Split]:
    """Set aside what shares a speaker, prompt or recording with the other side: first what is new with what is old, then training's."""
    kept = list(sides)
    for keys in (known.units, known.prompts, known.recordings):
        old = {side: {key for key, fixed in zip(keys, known.fixed, strict=True) if fixed is side} for side in _OTHER}
        for place in known.new if any(old.values()) else ():
            if kept[place] in _OTHER and keys[place] in old[_OTHER[kept[place]]]:
                kept[place] = Split.SET_ASIDE
    for keys in (known.units, known.prompts, known.recordings):
        evaluated = {key for side, key in zip(kept, keys, strict=True) if side is Split.EVAL}
        for place in known.new:
            if kept[place] is Split.TRAIN and keys[place] in evaluated:
                kept[place] = Split.SET_ASIDE
    return kept
