import jiwer
import pytest

from infra.errors import EvaluationError
from tasks.speech.error_rates import count_errors, normalise

pytestmark = pytest.mark.fast
REFERENCES = ["The cat sat.", "one two three four", "fünf sechs sieben", "नमस्ते दुनिया"]
HYPOTHESES = ["the cat sat down", "one three five", "", "नमस्ते दुनिया"]


def test_rates_are_those_of_jiwer():
    counts = count_errors(REFERENCES, HYPOTHESES)
    references, hypotheses = [normalise(text) for text in REFERENCES], [normalise(text) for text in HYPOTHESES]
    assert counts.wer == pytest.approx(jiwer.wer(references, hypotheses))
    assert counts.cer == pytest.approx(jiwer.cer(references, hypotheses))
    assert counts.word_errors.tolist() == [1, 2, 3, 0]
    kinds = (counts.substitutions, counts.deletions, counts.insertions)
    assert [of.tolist() for of in kinds] == [[0, 1, 0, 0], [0, 1, 3, 0], [1, 0, 0, 0]]


def test_case_and_punctuation_do_not_count_and_number_words_stay_apart():
    assert count_errors(["One, two. THREE!"], ["one two three"]).wer == 0
    assert normalise("one two three") == "one two three"


def test_a_reference_without_words_has_no_rate():
    with pytest.raises(EvaluationError, match="no word"):
        count_errors(["..."], ["text"])
    with pytest.raises(EvaluationError, match="no utterances"):
        count_errors([], [])
