"""Which utterances share a window: of one language, or of one speaker, as many as fit with a pause between each two.

A window costs the same whatever it holds. A model that has only heard full windows is worse on single utterances, which is why a share
of the epochs keeps them apart (docs/performance.md tells what was tried).
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

from tasks.contracts import Utterance

PAUSE_S = 0.2  # of silence between two utterances of a window
_OPEN_WINDOWS = 64  # how many are looked at for a place: the last ones begun
Packing = Literal["off", "same-language", "same-speaker"]


def shared_windows(
    utterances: Sequence[Utterance], packing: Packing, window_s: float, draw: random.Random
) -> list[tuple[Utterance, ...]]:
    """Put each utterance into the first open window with room for it, in a drawn order; each stands in exactly one.

    An utterance without a speaker shares with nobody where speakers are kept apart; neither does one that is longer than a window.
    """
    groups: dict[tuple[str, str], list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        speaker = utterance.speaker or utterance.id if packing == "same-speaker" else ""
        groups[utterance.language, speaker].append(utterance)
    windows = []
    for _, group in sorted(groups.items()):
        draw.shuffle(group)
        windows += _first_fit(group, window_s)
    return windows


def _first_fit(utterances: Sequence[Utterance], window_s: float) -> list[tuple[Utterance, ...]]:
    windows: list[list[Utterance]] = []
    room_s: list[float] = []
    for utterance in utterances:
        needed_s = utterance.duration_s + PAUSE_S
        first_open = max(0, len(windows) - _OPEN_WINDOWS)
        for place in range(first_open, len(windows)):
            if room_s[place] >= needed_s:
                windows[place].append(utterance)
                room_s[place] -= needed_s
                break
        else:
            windows.append([utterance])
            room_s.append(window_s - utterance.duration_s)
    return [tuple(window) for window in windows]
