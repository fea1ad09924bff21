"""A repository folder in each of its forms, complete, and made again only when it would differ."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from infra.errors import PublishingError
from tasks.contracts import Consent, EvaluationReport, Form, Method
from tasks.dataset.export import DatasetPublication
from tasks.publishing.screening import MANIFEST
from tasks.publishing.stage import Publication, open_staged, stage, stage_address, stage_shipped_base
from tests.builders.publications import weights

BOTH = Publication(name="anna/model", licence="cc-by-4.0", forms=(Form.ADAPTER, Form.MERGED))


@pytest.mark.fast
@pytest.mark.parametrize("name", ["a--b", "me/x..y", "model.git", "../x", "a/b/c", "me/", "x" * 97, ""])
@pytest.mark.parametrize("kind", [Publication, DatasetPublication])
def test_a_name_that_no_hub_takes_is_told_before_anything_is_made(kind: type[Publication], name: str):
    with pytest.raises(ValidationError, match="name"):
        kind(name=name)


@pytest.mark.parametrize("leak", ["optimizer.pt", "checkpoint-5/model.safetensors", "model.bin"])
def test_what_training_left_beside_the_weights_is_not_staged(lora_report: EvaluationReport, tmp_path: Path, leak: str):
    left = lora_report.model.checkpoint.folder / leak
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(weights(0, 10))
    try:
        with pytest.raises(PublishingError, match=f"{leak} is not among"):
            stage(lora_report, BOTH, Form.ADAPTER, tmp_path / "published")
    finally:
        left.unlink()
        if left.parent != lora_report.model.checkpoint.folder:
            left.parent.rmdir()
    assert not list(tmp_path.glob("published/*"))


@pytest.mark.parametrize("leak", ["token", "path"])
def test_a_token_or_a_path_of_this_machine_is_never_staged(full_report: EvaluationReport, tmp_path: Path, leak: str):
    secret = "hf_" + "a" * 34 if leak == "token" else str(full_report.dataset.folder / "secret")
    configuration = full_report.model.folder / "training_config.json"
    written = configuration.read_text()
    configuration.write_text(json.dumps(json.loads(written) | {"note": secret}))
    try:
        with pytest.raises(PublishingError, match=r"training_config.json holds"):
            stage(full_report, BOTH, Form.FULL, tmp_path / "published")
    finally:
        configuration.write_text(written)
    assert not (tmp_path / "published" / "repository").exists()


def test_a_run_without_its_results_is_not_staged(full_report: EvaluationReport, tmp_path: Path):
    curves = full_report.model.folder / "loss.png"
    drawn = curves.read_bytes()
    curves.unlink()
    try:
        with pytest.raises(PublishingError, match=r"lacks loss.png"):
            stage(full_report, BOTH, Form.FULL, tmp_path / "published")
    finally:
        curves.write_bytes(drawn)


def test_both_forms_of_an_adapter_are_whole_and_lead_to_each_other(lora_report: EvaluationReport, tmp_path: Path):
    staged = [stage(lora_report, BOTH, form, tmp_path / form) for form in BOTH.forms_of(Method.LORA)]
    assert [(one.name, one.form) for one in staged] == [("anna/model", Form.ADAPTER), ("anna/model-merged", Form.MERGED)]
    adapter, merged = ({path.name for path in one.folder.iterdir()} for one in staged)
    assert {"adapter_model.safetensors", "adapter_config.json"} <= adapter
    assert {"model.safetensors", "tekken.json", "processor_config.json", "config.json"} <= merged
    assert not {name for name in merged if name.startswith("adapter")}
    for one, other in zip(staged, reversed(staged), strict=True):
        assert f"[{other.name}](/{other.name})" in one.card.read_text()
        assert set(json.loads((one.folder / MANIFEST).read_text())["files"]) == {path.name for path in one.folder.iterdir()}
        assert open_staged(one.folder.parent) == one


def test_an_adapter_of_the_shipped_model_names_the_repository_beside_it(lora_report: EvaluationReport, tmp_path: Path):
    staged = stage(lora_report, BOTH, Form.ADAPTER, tmp_path / "published")
    configuration = json.loads((staged.folder / "adapter_config.json").read_text())
    assert (configuration["base_model_name_or_path"], configuration["revision"]) == ("anna/voxfactory-tiny", None)
    base = tmp_path / "base"
    assert stage_shipped_base(base) == stage_shipped_base(base)
    assert {"config.json", "model.safetensors", "tekken.json", "README.md", MANIFEST} <= {path.name for path in base.iterdir()}


def test_an_adapter_whose_base_lies_on_this_machine_is_published_merged_only(lora_report: EvaluationReport, tmp_path: Path):
    base = lora_report.model.base
    local = base.model_copy(update={"name": str(base.folder)})
    report = lora_report.model_copy(update={"model": lora_report.model.model_copy(update={"base": local})})
    with pytest.raises(PublishingError, match=r"is of no use to others.*--form merged"):
        stage(report, BOTH, Form.ADAPTER, tmp_path / "adapter")
    assert stage(report, BOTH, Form.MERGED, tmp_path / "merged").form is Form.MERGED


def test_a_fully_trained_model_has_one_form(full_report: EvaluationReport):
    assert BOTH.forms_of(Method.FULL) == (Form.FULL,)
    assert Publication(forms=(Form.MERGED, Form.MERGED)).forms_of(Method.LORA) == (Form.MERGED,)


def test_the_address_goes_by_what_makes_the_folder(full_report: EvaluationReport, tmp_path: Path):
    def address(report: EvaluationReport = full_report, form: Form = Form.FULL, **terms: object) -> str:
        return stage_address(report, BOTH.model_copy(update=terms), form)

    elsewhere = full_report.model_copy(update={"folder": tmp_path})
    consented = full_report.dataset.model_copy(update={"consent_scope": Consent.PUBLIC})
    guarded = full_report.model_copy(update={"guards": (consented,)})
    assert address(elsewhere) == address()
    others = [
        address(name="anna/other"),
        address(licence="mit"),
        address(public=True),
        address(form=Form.MERGED),
        address(guarded),
    ]
    assert len({address(), *others}) == 6
