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
    from jiwer import AlignmentChunk
    from whisper_normalizer.basic import BasicTextNormalizer


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """Errors and reference lengths of each utterance: int arrays of shape (utterances,)."""

    substitutions: np.ndarray  # of words, like the next two
    deletions: np.ndarray
    insertions: np.ndarray
    words: np.ndarray
    character_errors: np.ndarray
    characters: np.ndarray

    @property
    def word_errors(self) -> np.ndarray:
        """Of all three kinds."""
        return self.substitutions + self.deletions + self.insertions

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

    if not references:
        raise EvaluationError("There are no utterances to score", "Give an evaluation set")
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references and {len(hypotheses)} hypotheses")
    spoken, heard = [normalise(text) for text in references], [normalise(text) for text in hypotheses]
    without = next((text for text, normal in zip(references, spoken, strict=True) if not normal), None)
    if without is not None:
        raise EvaluationError(f"The reference {without!r} has no word in it", "Remove the utterance or correct its transcript")
    words, characters = jiwer.process_words(spoken, heard), jiwer.process_characters(spoken, heard)
    substitutions, deletions, insertions = np.array([_kinds(one) for one in words.alignments]).T
    return ErrorCounts(
        substitutions=substitutions,
        deletions=deletions,
        insertions=insertions,
        words=np.array([len(one) for one in words.references]),
        character_errors=np.array([sum(_kinds(one)) for one in characters.alignments]),
        characters=np.array([len(one) for one in characters.references]),
    )


def _kinds(alignment: "Sequence[AlignmentChunk]") -> tuple[int, int, int]:
    """Substitutions, deletions and insertions."""
    of = dict.fromkeys(("substitute", "delete", "insert", "equal"), 0)
    for chunk in alignment:
        of[chunk.type] += max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
    return of["substitute"], of["delete"], of["insert"]
