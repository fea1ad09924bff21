"""The rendered demo as a real process, asked through its real API."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from infra.errors import SpaceError
from tasks.contracts import Checkpoint, EvaluationReport, Example, Form, StagedModel
from tasks.publishing.stage import Publication, stage
from tasks.space.local import running_space
from tasks.space.prove import prove
from tasks.space.render import render
from tests.builders.reports import report, score


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory, full_report: EvaluationReport) -> StagedModel:
    return stage(full_report, Publication(name="anna/tiny-german"), Form.FULL, tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def demo(staged: StagedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(staged, tmp_path_factory.mktemp("space") / "demo")


def test_the_demo_answers_as_evaluation_heard(demo: Path, staged: StagedModel):
    clips = staged.report.known_clips(3)
    assert clips[0].base != clips[0].tuned, "the fixture must tell base and tuned apart"
    with running_space(demo, staged, timeout_s=120) as (url, _):
        proofs = prove(url, clips)
    assert [proof.answered for proof in proofs] == [clip.tuned for clip in clips]


def test_a_demo_that_serves_the_base_model_is_caught(demo: Path, staged: StagedModel, tiny: Checkpoint):
    serving_base = staged.model_copy(update={"folder": tiny.folder})
    with running_space(demo, serving_base, timeout_s=120) as (url, _), pytest.raises(SpaceError, match="serves the base model"):
        prove(url, staged.report.known_clips(3))


def test_a_demo_whose_model_is_missing_ends_and_shows_why(demo: Path, staged: StagedModel, tmp_path: Path):
    without_model = staged.model_copy(update={"folder": tmp_path})
    with pytest.raises(SpaceError, match=r"ended with code 1"), running_space(demo, without_model, timeout_s=120):
        pass


def test_the_repository_is_complete_and_says_what_was_measured(demo: Path, staged: StagedModel):
    assert {path.name for path in demo.iterdir()} >= {"app.py", "demo.json", "requirements.txt", "README.md"}
    described = json.loads((demo / "demo.json").read_text())
    assert described["languages"] == ["de"]
    assert f"{staged.report.target.wer_tuned.value:.1%} after" in described["description"]
    assert "sdk: gradio" in (demo / "README.md").read_text()
    subprocess.run([sys.executable, "-m", "py_compile", "app.py"], cwd=demo, check=True)


@pytest.mark.fast
def test_clips_on_which_the_models_differ_are_asked_first(staged_report_examples: EvaluationReport):
    chosen = staged_report_examples.known_clips(3)
    assert [clip.base == clip.tuned for clip in chosen] == [False, True, True]


@pytest.fixture
def staged_report_examples() -> EvaluationReport:
    def example(number: int, base: str, set_name: str = "german") -> Example:
        return Example(
            set_name=set_name,
            utterance_id=str(number),
            audio_path=Path("a.wav"),
            language="de",
            reference="x",
            base=base,
            tuned="x",
        )

    made = report(score("german", 1, 0))
    return made.model_copy(
        update={"examples": (example(1, "x"), example(2, "x"), example(3, "y"), example(4, "x"), example(5, "y", "other"))}
    )
