"""Word and character error rates, and how sure we are of them.

WER = (substitutions + deletions + insertions) / words of the references, pooled over utterances; jiwer counts. Texts are compared
after Whisper's basic normaliser (lower case, no punctuation), which keeps number words apart in every language.

The interval is a percentile bootstrap over utterances (Bisani & Ney 2004): utterances are drawn with replacement, and base and tuned
are always drawn together, so that the change of WER is measured on the same utterances.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from infra.errors import EvaluationError
from tasks.contracts import Interval

if TYPE_CHECKING:
    from whisper_normalizer.basic import BasicTextNormalizer

RESAMPLES = 10_000
_BLOCK = 500  # resamples at a time: bounds the memory at 500 x utterances counts
_CONFIDENCE = 0.95


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


def wer_intervals(base: ErrorCounts, tuned: ErrorCounts, seed: int) -> tuple[Interval, Interval, Interval]:
    """WER of base, of tuned, and tuned minus base, each with its 95 % interval from the same resamples."""
    draw = np.random.default_rng(seed)
    utterances = len(base.words)
    errors = np.stack([base.word_errors, tuned.word_errors, base.words], axis=1)  # (utterances, 3)
    rates = []
    for start in range(0, RESAMPLES, _BLOCK):
        size = min(_BLOCK, RESAMPLES - start)
        counts = draw.multinomial(utterances, np.full(utterances, 1 / utterances), size=size)  # (resamples, utterances)
        sums = counts @ errors
        rates.append(sums[:, :2] / sums[:, 2:])
    wer = np.concatenate(rates)
    return (
        _interval(base.wer, wer[:, 0]),
        _interval(tuned.wer, wer[:, 1]),
        _interval(tuned.wer - base.wer, wer[:, 1] - wer[:, 0]),
    )


def _interval(value: float, resampled: np.ndarray) -> Interval:
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Interval(value=value, low=float(low), high=float(high))
