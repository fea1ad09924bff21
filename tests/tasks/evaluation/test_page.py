"""The page of a report, and what it tells of words, speakers and lengths."""

import re

import pytest

from tasks.contracts import DatasetVersion, EvaluationReport, Split
from tasks.dataset.version import read_utterances
from tasks.evaluation.compare import HeardSet, compare
from tasks.evaluation.differences import Group, Segment, aligned, by_source, confusions
from tasks.evaluation.transcribe import Hypothesis
from tasks.speech.error_rates import count_errors
from tests.builders.reports import report, score

pytestmark = pytest.mark.fast


def test_texts_are_aligned_word_by_word_and_confusions_counted():
    segments = aligned("Eins, zwei drei vier", "eins zwo drei vier fünf")
    assert segments == [
        Segment("equal", ("eins",), ("eins",)),
        Segment("substitute", ("zwei",), ("zwo",)),
        Segment("equal", ("drei", "vier"), ("drei", "vier")),
        Segment("insert", (), ("fünf",)),
    ]
    found = confusions([segments, aligned("zwei drei", "zwo"), aligned("eins", "")])
    assert found == {("zwei", "zwo"): 2, ("", "fünf"): 1, ("drei", ""): 1, ("eins", ""): 1}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, digits: DatasetVersion) -> EvaluationReport:
    """The base hears one word wrong in each utterance; the tuned model all but the first, in which it hears markup."""
    folder = tmp_path_factory.mktemp("evaluation")
    utterances = read_utterances(digits, Split.EVAL)
    wrong = [" ".join(["zwo", *utterance.text.split()[1:]]) for utterance in utterances]
    right = ["<script>alert(1)</script>", *(utterance.text for utterance in utterances[1:])]
    paths = []
    for name, texts in (("base", wrong), ("tuned", right)):
        lines = [
            Hypothesis(utterance=u.id, audio_hash=u.audio_hash, language=u.language, text=text, ended=True)
            for u, text in zip(utterances, texts, strict=True)
        ]
        paths.append(folder / f"{name}.jsonl")
        paths[-1].write_text("".join(line.model_dump_json() + "\n" for line in lines))
    model = report(score("german", 1, 0.5)).model
    return compare(model, HeardSet(digits, *paths), [], folder, seed=0)


def section(page: str, title: str) -> str:
    return re.split(r"<h[23]>", page.split(f">{title}", 1)[1], maxsplit=1)[0]


def test_a_report_can_be_read_and_listened_to_in_a_page_of_its_own(judged: EvaluationReport, digits: DatasetVersion):
    page = (judged.folder / "report.html").read_text(encoding="utf-8")
    utterances = read_utterances(digits, Split.EVAL)
    assert "Worse than before: 1" in page
    assert f"Better than before: {len(utterances) - 1}" in page
    better = section(page, "Better than before")
    assert better.count("<audio") == min(15, len(utterances) - 1)
    assert "<ins>zwo</ins>" in better
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" not in section(page, "Better than before")
    assert not re.search(r'(src|href)="(?!data:)', page), "nothing is fetched"
    speakers = section(page, "By speaker, the worst first")
    assert all(utterance.speaker in speakers for utterance in utterances if utterance.speaker)


def test_the_first_line_says_how_much_was_gained_and_whether_it_is_chance(judged: EvaluationReport):
    page = " ".join((judged.folder / "report.html").read_text(encoding="utf-8").split())
    target = judged.target
    before, after = (f"{100 * rate.value:.1f} %" for rate in (target.wer_base, target.wer_tuned))
    assert f"{before} before, <b>{after}</b> after: " in page
    sure = target.wer_change.high < 0
    assert ("better, beyond what chance explains" in page) == sure
    assert ("a difference that may be chance" in page) == (not sure)


def test_what_was_confused_is_counted_before_and_after(judged: EvaluationReport, digits: DatasetVersion):
    utterances = read_utterances(digits, Split.EVAL)
    confused = section((judged.folder / "report.html").read_text(encoding="utf-8"), "Words that were taken for others")
    rows = re.findall(
        r'<tr><td dir="auto">(.*?)</td><td class="text" dir="auto">(.*?)</td><td>(\d+)</td><td>(\d+)</td>', confused
    )
    as_zwo = [int(before) for _, heard, before, _ in rows if heard == "zwo"]
    assert sum(as_zwo) == sum(utterance.text.split()[0] != "zwo" for utterance in utterances)
    counted = judged.target
    assert counted.errors_base.substitutions == len(utterances)
    assert 0.5 < counted.p_better < 1


def test_manifests_are_told_apart_where_there_are_several(digits: DatasetVersion):
    one, two, three = read_utterances(digits)[:3]
    sources = ("read.tsv row 1 a.wav", "free talk.jsonl:12 b.wav", "read.tsv row 2 c.wav")
    spoken = [each.model_copy(update={"source": source}) for each, source in zip((one, two, three), sources, strict=True)]
    texts = [each.text for each in spoken]
    right, wrong = count_errors(texts, texts), count_errors(texts, ["", *texts[1:]])
    words = [len(text.split()) for text in texts]
    assert by_source(spoken, wrong, right) == [
        Group("free talk.jsonl", 1, words[1], 0.0, 0.0),
        Group("read.tsv", 2, words[0] + words[2], words[0] / (words[0] + words[2]), 0.0),
    ]
    assert by_source([spoken[0]], count_errors(texts[:1], texts[:1]), count_errors(texts[:1], texts[:1])) == []
