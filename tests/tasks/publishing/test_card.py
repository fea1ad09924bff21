import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from infra.errors import PublishingError
from tasks.contracts import Checkpoint, EvaluationReport, Method, StagedModel
from tasks.publishing.stage import Publication, open_staged, stage

PUBLICATION = Publication(name="somebody/tiny-german", licence="cc-by-4.0")


@pytest.fixture(params=["full_report", "lora_report"])
def report(request: pytest.FixtureRequest) -> EvaluationReport:
    """A real run of a few steps, really evaluated."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def staged(report: EvaluationReport, tmp_path: Path) -> StagedModel:
    return stage(report, PUBLICATION, tmp_path / "published")


def test_the_metadata_hold_the_measured_rates_and_nothing_invented(staged: StagedModel, report: EvaluationReport):
    data = ModelCard.load(staged.card).data
    assert (data.license, data.language, data.pipeline_tag) == ("cc-by-4.0", ["de"], "automatic-speech-recognition")
    assert data.base_model is None  # the shipped model is on no Hub
    results = {result.metric_name: result.metric_value for result in data.eval_results}
    assert results == {
        "WER": round(100 * report.target.wer_tuned.value, 2),
        "WER of the base model": round(100 * report.target.wer_base.value, 2),
        "CER": round(100 * report.target.cer_tuned, 2),
        "CER of the base model": round(100 * report.target.cer_base, 2),
    }


def test_parts_appear_only_when_they_are_true(staged: StagedModel, report: EvaluationReport):
    text = staged.card.read_text()
    lora = report.model.method is Method.LORA
    assert ("lora_rank" in text) is lora
    assert ("PeftModel" in text) is lora
    assert "guard against forgetting" not in text
    assert ("(LoRA adapter)" in text, "(every weight)" in text) == (lora, not lora)
    assert "{{" not in text
    assert "None" not in text


def test_the_folder_is_complete_and_holds_nothing_of_this_machine(staged: StagedModel, report: EvaluationReport):
    names = {path.name for path in staged.folder.iterdir()}
    weights = (
        {"adapter_model.safetensors", "adapter_config.json"} if report.model.method is Method.LORA else {"model.safetensors"}
    )
    expected = {"README.md", "config.json", "tekken.json", "processor_config.json", "training_config.json"} | weights
    assert names - {"generation_config.json"} == expected | {"train_results.json", "eval_results.json", "wer.png", "loss.png"}
    for path in staged.folder.glob("*.json"):
        assert str(report.folder.parent) not in path.read_text()
    assert open_staged(staged.folder.parent) == staged


def test_the_code_on_the_card_transcribes_as_evaluation_did(
    staged: StagedModel, report: EvaluationReport, tiny: Checkpoint, tmp_path: Path
):
    (snippet,) = re.findall(r"```python\n(.*?)```", staged.card.read_text(), flags=re.DOTALL)
    example = report.examples[0]
    for written, meant in ((PUBLICATION.name, staged.folder), ("voxfactory-tiny", tiny.folder), ("clip.wav", example.audio_path)):
        snippet = snippet.replace(f'"{written}"', repr(str(meant)))
    (tmp_path / "snippet.py").write_text(snippet)
    done = subprocess.run([sys.executable, "snippet.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == example.tuned


@pytest.mark.parametrize("leak", ["token", "path"])
def test_a_token_or_a_path_of_this_machine_is_never_staged(report: EvaluationReport, tmp_path: Path, leak: str):
    secret = "hf_" + "a" * 34 if leak == "token" else str(report.model.folder / "secret")
    configuration = report.model.folder / "training_config.json"
    kept = configuration.read_text()
    configuration.write_text(json.dumps(json.loads(kept) | {"note": secret}))
    try:
        with pytest.raises(PublishingError, match=r"(README.md|training_config.json) holds"):
            stage(report, PUBLICATION, tmp_path / "published")
    finally:
        configuration.write_text(kept)
    assert not (tmp_path / "published" / "repository").exists()


def test_a_run_without_its_results_is_not_staged(report: EvaluationReport, tmp_path: Path):
    curves = report.model.folder / "loss.png"
    kept = curves.read_bytes()
    curves.unlink()
    try:
        with pytest.raises(PublishingError, match=r"lacks loss.png"):
            stage(report, PUBLICATION, tmp_path / "published")
    finally:
        curves.write_bytes(kept)
