import random

import pytest

from infra.errors import DatasetError
from tasks.contracts import Split, Utterance
from tasks.dataset.split import split_utterances
from tasks.speech.transcript import normalised_prompt

pytestmark = pytest.mark.fast


def utterance(number: int, text: str, speaker: str | None, audio_hash: str | None = None) -> Utterance:
    return Utterance(
        id=f"{number:04d}",
        audio_path=f"{number}.wav",
        text=text,
        language="en",
        duration_s=1,
        audio_hash=audio_hash or f"a{number}",
        speaker=speaker,
    )


def corpora() -> dict[str, list[Utterance]]:
    draw = random.Random(0)
    words = [f"word{number}" for number in range(400)]
    return {
        "many speakers, own texts": [utterance(n, f"{draw.choice(words)} {n}", f"s{n % 12}") for n in range(120)],
        "all read the same ten prompts": [utterance(n, f"Prompt {n % 10}!", f"s{n // 10}") for n in range(120)],
        "one speaker": [utterance(n, draw.choice(words), "me") for n in range(60)],
        "speakers unknown": [utterance(n, draw.choice(words), None) for n in range(60)],
        "the same recording twice": [utterance(n, f"text {n}", f"s{n % 6}", audio_hash=f"a{n // 2}") for n in range(60)],
        "some speakers unknown": [utterance(n, f"text {n}", f"s{n % 8}" if n % 5 else None) for n in range(80)],
        "two utterances": [utterance(0, "one", None), utterance(1, "two", None)],
    }


@pytest.mark.parametrize("name", corpora())
@pytest.mark.parametrize("seed", range(5))
def test_nothing_stands_on_both_sides(name: str, seed: int):
    divided, _ = split_utterances(corpora()[name], 0.2, seed)
    train = [u for u in divided if u.split is Split.TRAIN]
    held_out = [u for u in divided if u.split is Split.EVAL]
    assert train
    assert held_out
    for key in (lambda u: normalised_prompt(u.text), lambda u: u.audio_hash):
        assert not {key(u) for u in train} & {key(u) for u in held_out}
    if len({u.speaker for u in divided if u.speaker}) > 1:
        assert not {u.speaker for u in train if u.speaker} & {u.speaker for u in held_out if u.speaker}


def test_nothing_is_lost_and_the_seed_decides():
    utterances = corpora()["many speakers, own texts"]
    first, rule = split_utterances(utterances, 0.2, 1)
    assert [u.id for u in first] == [u.id for u in utterances]
    assert rule == "speakers"
    assert first == split_utterances(utterances, 0.2, 1)[0]
    assert any(first != split_utterances(utterances, 0.2, seed)[0] for seed in (2, 3, 4))


def test_adding_data_moves_nobody_to_the_other_side():
    utterances = corpora()["many speakers, own texts"]
    before = {u.speaker: u.split for u in split_utterances(utterances, 0.3, 1)[0]}
    more = [utterance(1000 + n, f"new {n}", f"t{n % 5}") for n in range(50)]
    after = {u.speaker: u.split for u in split_utterances(utterances + more, 0.3, 1)[0]}
    assert {speaker: after[speaker] for speaker in before} == before


def test_one_text_alone_cannot_be_divided():
    with pytest.raises(DatasetError, match="say the same"):
        split_utterances([utterance(n, "Yes.", None) for n in range(5)], 0.2, 0)
