"""Outputs that run in circles: the same few words again and again, though nobody said them so often."""

from tasks.speech.error_rates import normalise

_LONGEST_PHRASE = 8  # words
_LEAST_TIMES, _LEAST_WORDS = 3, 6  # less is said by people, too: "no no no", "thank you, thank you"


def is_loop(hypothesis: str, reference: str) -> bool:
    """Whether an output repeats a phrase of up to 8 words at least three times in a row, over six words or more, twice as long as was said.

    "two two two two two two" is no loop where that was said.
    """
    heard = _longest_repetition(normalise(hypothesis).split())
    return heard >= _LEAST_WORDS and heard >= 2 * _longest_repetition(normalise(reference).split())


def _longest_repetition(words: list[str]) -> int:
    """Words of the longest stretch that is one phrase, three times or more."""
    longest = 0
    for length in range(1, min(_LONGEST_PHRASE, len(words) // _LEAST_TIMES) + 1):
        same = 0  # words in a row that equal the one `length` before
        for place in range(length, len(words)):
            same = same + 1 if words[place] == words[place - length] else 0
            whole = (same // length + 1) * length
            if whole >= _LEAST_TIMES * length:
                longest = max(longest, whole)
    return longest
