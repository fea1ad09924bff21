"""Word and character error rates.

WER = (substitutions + deletions + insertions) / words of the references, pooled over utterances; jiwer counts. Texts are compared
after Whisper's basic normaliser (lower case, no punctuation), which keeps number words apart in every language.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from infra.errors import EvaluationError

if TYPE_CHECKING:
    from whisper_normalizer.basic import BasicTextNormalizer


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """Errors and reference lengths of each utterance: int arrays of shape (utterances,)."""

    word_errors: np.ndarray
    words: np.ndarray
    character_errors: np.ndarray
    characters: np.ndarray

    @property
    def wer(self) -> float:
        """Pooled word error rate, a fraction."""
        return float(self.word_errors.sum() / self.words.sum())

    @property
    def cer(self) -> float:
        """Pooled character error rate, a fraction."""
        return float(self.character_errors.sum() / self.characters.sum())


@cache
def _normaliser() -> "BasicTextNormalizer":
    from whisper_normalizer.basic import BasicTextNormalizer

    return BasicTextNormalizer()


def normalise(text: str) -> str:
    """A text as it is compared."""
    return " ".join(_normaliser()(text).split())


def count_errors(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorCounts:
    """Count the errors of each utterance.

    Raises:
        EvaluationError: a reference normalises to nothing, so that no rate is defined.

    """
    import jiwer

    rows = []
    for reference, hypothesis in zip(map(normalise, references), map(normalise, hypotheses), strict=True):
        if not reference:
            raise EvaluationError("A reference has no word in it", "Remove the utterance or correct its transcript")
        words = jiwer.process_words(reference, hypothesis)
        characters = jiwer.process_characters(reference, hypothesis)
        rows.append(
            (
                words.substitutions + words.deletions + words.insertions,
                words.hits + words.substitutions + words.deletions,
                characters.substitutions + characters.deletions + characters.insertions,
                characters.hits + characters.substitutions + characters.deletions,
            )
        )
    if not rows:
        raise EvaluationError("There are no utterances to score", "Give an evaluation set")
    return ErrorCounts(*np.array(rows, dtype=np.int64).T)
