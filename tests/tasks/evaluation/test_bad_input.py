"""What is odd about references and outputs has a defined result, or an error that says what it is."""

from pathlib import Path

import pytest

from infra.errors import EvaluationError
from tasks.contracts import DatasetVersion, Duel, Split
from tasks.dataset.version import read_utterances
from tasks.evaluation.compare import HeardSet, compare_two
from tasks.evaluation.transcribe import Hypothesis
from tests.builders.speech import digit_version

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> DatasetVersion:
    return digit_version(tmp_path_factory.mktemp("digits"))


def compared(digits: DatasetVersion, folder: Path, first: str | None, second: str | None, most: int = 100) -> Duel:
    """Both models as they heard the first utterances: always the same text, or (None) the right one."""
    paths = []
    for name, said in (("first", first), ("second", second)):
        utterances = read_utterances(digits, Split.EVAL)[:most]
        heard = [
            Hypothesis(
                utterance=one.id,
                audio_hash=one.audio_hash,
                language=one.language,
                text=one.text if said is None else said,
                ended=True,
            )
            for one in utterances
        ]
        paths.append(folder / f"{name}.jsonl")
        paths[-1].write_text("".join(one.model_dump_json() + "\n" for one in heard))
    heard_set = HeardSet(digits, *paths)
    heard_set.utterances = heard_set.utterances[:most]
    return compare_two("a", "b", heard_set, folder, seed=0)


@pytest.mark.parametrize("nothing", ["", "...!?", "  "])
def test_an_output_without_words_leaves_all_words_out(digits: DatasetVersion, tmp_path: Path, nothing: str):
    (score,) = compared(digits, tmp_path, None, nothing).scores
    assert (score.wer_base.value, score.wer_tuned.value) == (0, 1)
    assert score.errors_tuned.deletions == score.words
    assert score.p_better == 0


def test_one_utterance_has_a_rate_and_an_interval_without_width(digits: DatasetVersion, tmp_path: Path):
    (score,) = compared(digits, tmp_path, "", None, most=1).scores
    assert score.utterances == 1
    assert (score.wer_change.low, score.wer_change.value, score.wer_change.high) == (-1, -1, -1)


def test_an_output_that_runs_in_circles_is_counted(digits: DatasetVersion, tmp_path: Path):
    (score,) = compared(digits, tmp_path, None, "und dann " * 40).scores
    assert (score.errors_base.loops, score.errors_tuned.loops) == (0, score.utterances)


def test_a_reference_without_words_is_named(digits: DatasetVersion, tmp_path: Path):
    compared(digits, tmp_path, None, None)
    heard = HeardSet(digits, tmp_path / "first.jsonl", tmp_path / "second.jsonl")
    heard.utterances[0] = heard.utterances[0].model_copy(update={"text": "(lacht)"})
    with pytest.raises(EvaluationError, match=r"'\(lacht\)' has no word"):
        compare_two("a", "b", heard, tmp_path, seed=0)
