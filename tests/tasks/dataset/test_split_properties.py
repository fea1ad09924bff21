"""Whatever the data: nothing leaks, nobody moves, every language has both sides, no side is empty without a reason."""

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import DatasetError
from tasks.contracts import Split, Utterance
from tasks.dataset.split import BY_PROMPTS, division_before, split_utterances
from tasks.speech.transcript import normalised_prompt

pytestmark = pytest.mark.fast
BOTH = {Split.TRAIN, Split.EVAL}

said = st.tuples(
    st.integers(0, 12),  # prompt
    st.one_of(st.none(), st.integers(0, 5)),  # speaker
    st.sampled_from(["de", "en", "fr"]),
    st.integers(0, 40),  # recording
)
corpora = st.lists(said, min_size=2, max_size=40, unique=True)


def built(rows: list[tuple[int, int | None, str, int]]) -> list[Utterance]:
    return [
        Utterance(
            id=f"{row}",
            audio_path="x.wav",
            text=f"Prompt {prompt}!",
            language=language,
            duration_s=1,
            audio_hash=f"a{recording}",
            speaker=None if speaker is None else f"s{speaker}",
        )
        for row in rows
        for prompt, speaker, language, recording in [row]
    ]


def leaks(divided: list[Utterance], rule: str) -> list[str]:
    keys = {
        "prompt": lambda u: (u.language, normalised_prompt(u.text)),
        "recording": lambda u: f"group {int(u.audio_hash[1:]) // 2}",
        "speaker": lambda u: u.speaker if rule != BY_PROMPTS else None,
    }
    found = []
    for name, key in keys.items():
        train, held = ({key(u) for u in divided if u.split is side} - {None} for side in (Split.TRAIN, Split.EVAL))
        found += [f"{name} {value}" for value in train & held]
    return found


def groups(utterances: list[Utterance]) -> dict[str, str]:
    """Recordings 2n and 2n+1 are nearly the same."""
    return {u.audio_hash: f"group {int(u.audio_hash[1:]) // 2}" for u in utterances}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(corpora, corpora, st.integers(0, 9))
def test_nothing_leaks_and_nobody_moves_when_data_are_added(first, more, seed):
    old = built(first)
    try:
        divided, rule = split_utterances(old, 0.3, seed, None, groups(old))
    except DatasetError:
        return
    assert {u.split for u in divided} >= BOTH
    assert not leaks(divided, rule)
    grown = built(list(dict.fromkeys([*more, *first])))
    again, new_rule = split_utterances(grown, 0.3, seed, division_before(divided, rule), groups(grown))
    assert not leaks(again, new_rule)
    sides = {u.id: u.split for u in again}
    assert {u.id: u.split for u in divided}.items() <= sides.items()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["de", "en", "fr", "it"])), min_size=2, max_size=30), st.integers(0, 9)
)
def test_every_language_with_two_speakers_has_both_sides(rows, seed):
    """Each speaks one language and has texts of his own."""
    utterances = built([(number, hash_of(number, language), language, 2 * number) for number, (_, language) in enumerate(rows)])
    named = [u.model_copy(update={"speaker": f"{u.language}{who}"}) for u, (who, _) in zip(utterances, rows, strict=True)]
    speakers = defaultdict(set)
    for one in named:
        speakers[one.language].add(one.speaker)
    if sum(map(len, speakers.values())) < 2:
        return
    divided, _ = split_utterances(named, 0.1, seed)
    for language, who in speakers.items():
        if len(who) > 1:
            assert {u.split for u in divided if u.language == language} >= BOTH


def hash_of(number: int, language: str) -> int:
    return number + ord(language[0])


def test_a_corrected_text_stays_on_the_side_of_its_recording():
    rows = built([(n, None, "de", 2 * n) for n in range(10)])
    divided, rule = split_utterances(rows, 0.5, 1)
    corrected = [u.model_copy(update={"id": f"new {u.id}", "text": f"{u.text} wirklich {u.id}"}) for u in rows]
    again, _ = split_utterances(corrected, 0.5, 1, division_before(divided, rule))
    assert [u.split for u in again] == [u.split for u in divided]


def test_who_came_alone_is_divided_by_prompts_ever_after():
    alone = built([(n, 1, "de", 2 * n) for n in range(10)])
    divided, rule = split_utterances(alone, 0.3, 1)
    crowd = built([(20 + n, n % 5, "de", 100 + 2 * n) for n in range(20)])
    again, new_rule = split_utterances(alone + crowd, 0.3, 1, division_before(divided, rule))
    assert (rule, new_rule) == (BY_PROMPTS, BY_PROMPTS)
    assert [u.split for u in again[:10]] == [u.split for u in divided]


def test_sides_are_given_up_only_where_one_would_be_empty():
    rows = built([(n, n % 4, "de", 2 * n) for n in range(12)])
    divided, rule = split_utterances(rows, 0.3, 1)
    left = [u for u in divided if u.split is Split.TRAIN]
    again, _ = split_utterances(left, 0.3, 1, division_before(divided, rule))
    assert {u.split for u in again} >= BOTH
