"""Train and eval, divided before anything sees the data.

Invariant: no named speaker (where two or more are named), no prompt and no recording stands on both sides. The price is that some
utterances stand on neither: they are set aside, counted, and kept. Membership is decided by a hash of the seed and the speaker (or
prompt), so adding data moves nothing.
"""

import hashlib
from collections.abc import Iterator, Sequence

from infra.errors import DatasetError
from tasks.contracts import Split, Utterance
from tasks.speech.transcript import normalised_prompt

_BY_SPEAKERS = "speakers"
_SPEAKERS_TO_DIVIDE = 2
_TOLERATED_LOSS = 0.5  # of the training side, before prompts are divided too


def split_utterances(utterances: Sequence[Utterance], eval_share: float, seed: int) -> tuple[list[Utterance], str]:
    """Give every utterance its side.

    Speakers are divided when there are two or more; prompts when there is one speaker, or when speakers read the same prompts so
    often that the training side would lose half of its utterances.

    Returns:
        The utterances in their order with `split` set, and the rule that was used.

    Raises:
        DatasetError: fewer than two utterances, or one prompt only.

    """
    if len(utterances) < 2:
        raise DatasetError(
            f"{len(utterances)} usable utterance cannot be divided into training and evaluation",
            "Add at least one more utterance",
        )
    prompts = [f"{utterance.language} {normalised_prompt(utterance.text)}" for utterance in utterances]
    for rule, sides in _candidates(utterances, prompts, eval_share, seed):
        sides = _without_shared_audio(utterances, sides)
        if sides.count(Split.TRAIN) >= (1 - _TOLERATED_LOSS) * (len(sides) - sides.count(Split.EVAL)) or rule != _BY_SPEAKERS:
            return _assign(utterances, sides), rule
    raise AssertionError("the last rule is always taken")


def _candidates(
    utterances: Sequence[Utterance], prompts: Sequence[str], eval_share: float, seed: int
) -> Iterator[tuple[str, list[Split]]]:
    """The rules that apply, the least wasteful first."""
    held_prompts = _held_out(sorted(set(prompts)), eval_share, seed)
    if not held_prompts:
        raise DatasetError("All utterances say the same", "Add utterances with other words")
    prompt_held = [prompt in held_prompts for prompt in prompts]
    known = {utterance.speaker for utterance in utterances if utterance.speaker}
    if len(known) < _SPEAKERS_TO_DIVIDE:
        yield "prompts", [Split.EVAL if held else Split.TRAIN for held in prompt_held]
        return
    # Somebody unnamed may be any of the speakers: nothing but his prompt can tell on which side he stands.
    held_speakers = _held_out(sorted(known), eval_share, seed)
    speaker_held = [
        utterance.speaker in held_speakers if utterance.speaker else held
        for utterance, held in zip(utterances, prompt_held, strict=True)
    ]
    yield _BY_SPEAKERS, _without_shared(prompts, speaker_held)
    sides = {(True, True): Split.EVAL, (False, False): Split.TRAIN}
    yield "speakers and prompts", [sides.get(pair, Split.SET_ASIDE) for pair in zip(speaker_held, prompt_held, strict=True)]


def _held_out(groups: Sequence[str], share: float, seed: int) -> set[str]:
    """The groups whose hash falls below the share: at least one, and never all."""

    def position(group: str) -> float:
        digest = hashlib.sha256(f"{seed} {group}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64

    if len(groups) < 2:
        return set()
    ordered = sorted(groups, key=position)
    below = [group for group in ordered if position(group) < share]
    return set(below[: len(groups) - 1] or ordered[:1])


def _without_shared(prompts: Sequence[str], in_eval: Sequence[bool]) -> list[Split]:
    evaluated = {prompt for prompt, held in zip(prompts, in_eval, strict=True) if held}
    return [
        Split.EVAL if held else Split.SET_ASIDE if prompt in evaluated else Split.TRAIN
        for prompt, held in zip(prompts, in_eval, strict=True)
    ]


def _without_shared_audio(utterances: Sequence[Utterance], sides: Sequence[Split]) -> list[Split]:
    evaluated = {u.audio_hash for u, side in zip(utterances, sides, strict=True) if side is Split.EVAL}
    return [
        Split.SET_ASIDE if side is Split.TRAIN and utterance.audio_hash in evaluated else side
        for utterance, side in zip(utterances, sides, strict=True)
    ]


def _assign(utterances: Sequence[Utterance], sides: Sequence[Split]) -> list[Utterance]:
    if Split.TRAIN not in sides or Split.EVAL not in sides:
        empty = Split.TRAIN if Split.TRAIN not in sides else Split.EVAL
        raise DatasetError(f"No utterance is left for {empty}", "Add utterances with other speakers and other words")
    return [u.model_copy(update={"split": side}) for u, side in zip(utterances, sides, strict=True)]
