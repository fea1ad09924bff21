"""Models that were spoiled on purpose go through the whole factory, and it tells what is wrong with each."""

import json
import random
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.factory import factory
from flows.params import Gate, Publication, Source, Training
from tasks.contracts import FactoryResult, Method, Split
from tasks.dataset.ingest import IngestOptions, ingest
from tasks.dataset.version import read_utterances
from tasks.training.options import TrainingOptions
from tests.builders.speech import digit_corpus, radio_corpus


def made_from(source: Path, language: str, guard: Path, epochs: int, server: str) -> FactoryResult:
    """What the factory makes of a source when nothing of the guard set is mixed in."""
    options = TrainingOptions(method=Method.FULL, epochs=epochs, batch_size=8, learning_rate=7e-4)
    english = IngestOptions(language="en")
    with temporary_settings({PREFECT_API_URL: server}):
        return factory(
            Source(path=source, name="target", options=IngestOptions(language=language)),
            Training(options=options, replay_guards=False),
            Gate(guard_sets=[Source(path=guard, name="known", options=english)]),
            Publication(),
        )


def shuffle_what_is_trained_on(source: Path, folder: Path) -> Path:
    """Deal the transcripts of the training side anew, each to another clip; what is held out stays true."""
    true = ingest(source, "true", IngestOptions(language="en"), folder, processes=1)
    held_out = {utterance.speaker for utterance in read_utterances(true, Split.EVAL)}
    manifest = source / "manifest.jsonl"
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    trained_on = [row for row in rows if row["speaker"] not in held_out]
    texts = [row["text"] for row in trained_on]
    random.Random(0).shuffle(texts)
    for row, text in zip(trained_on, texts, strict=True):
        row["text"] = text
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return source


def assert_kept_unpublished(made: FactoryResult, home: Path) -> None:
    assert not made.decision.publish
    assert made.decision.more_utterances is None, "no more data would turn it"
    assert not made.published
    assert made.space is None
    assert list((home / "runs").glob("*/best-model/model.safetensors"))
    assert not list((home / "published").glob("*/*"))


@pytest.fixture
def guard(tmp_path: Path) -> Path:
    """English as the base knows it."""
    return digit_corpus(tmp_path / "guard", language="en", clips=12)


def test_trained_on_shuffled_transcripts_it_is_not_better(tmp_path: Path, home: Path, guard: Path, server: str):
    """More of the same speech with its own transcripts makes a model that is published: test_factory."""
    source = shuffle_what_is_trained_on(radio_corpus(tmp_path / "source", clips=40), tmp_path / "true")
    made = made_from(source, "en", guard, 2, server)
    assert_kept_unpublished(made, home)
    assert made.report.target.wer_change.value > 0
    assert made.decision.reasons[0].startswith("target: WER ")
    assert made.decision.reasons[0].endswith(", not better")


def test_trained_until_it_forgets_english_it_is_better_and_refused(tmp_path: Path, home: Path, guard: Path, server: str):
    made = made_from(digit_corpus(tmp_path / "source", language="de", clips=60), "de", guard, 8, server)
    assert_kept_unpublished(made, home)
    about_target, *others = made.decision.reasons
    assert about_target.endswith(", better"), "German alone would have been published"
    about_guard = [reason for reason in others if reason.startswith("known")]
    assert about_guard
    assert all(reason.endswith("lost more than 5%") for reason in about_guard)
