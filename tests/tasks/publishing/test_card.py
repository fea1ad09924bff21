import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, ModelCardData

from infra.errors import PublishingError
from tasks.contracts import EvaluationReport, Form, GateDecision, Method, Silence, StagedModel
from tasks.publishing.card import Links, model_card
from tasks.publishing.screening import MANIFEST
from tasks.publishing.stage import Publication, open_staged, stage
from tests.builders.reports import score

NAME = "somebody/tiny-german"
PUBLICATION = Publication(name=NAME, licence="cc-by-4.0")


def own_form(report: EvaluationReport) -> Form:
    """The form in which training left the weights."""
    return PUBLICATION.forms_of(report.model.method)[0]


@pytest.fixture(params=["full_report", "lora_report"])
def report(request: pytest.FixtureRequest) -> EvaluationReport:
    """A real run of a few steps, really evaluated."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def staged(report: EvaluationReport, tmp_path: Path) -> StagedModel:
    return stage(report, PUBLICATION, own_form(report), tmp_path / "published")


def card_of(report: EvaluationReport, form: Form | None = None, licence: str = "cc-by-4.0", **links: str) -> ModelCard:
    return ModelCard(model_card(NAME, report, licence, form, Links(**links)))


def with_run(report: EvaluationReport, folder: Path, **changes: dict[str, object]) -> EvaluationReport:
    """The same report on a copy of its run in which JSON files say something else; None takes a key out."""
    shutil.copytree(report.model.folder, folder)
    for name, changed in changes.items():
        path = folder / f"{name}.json"
        written = json.loads(path.read_text()) | changed
        path.write_text(json.dumps({key: value for key, value in written.items() if value is not None}))
    return report.model_copy(update={"model": report.model.model_copy(update={"folder": folder})})


def with_guard(report: EvaluationReport, change: float) -> EvaluationReport:
    """The same report with a guard set of two languages whose rates changed by so much."""
    guard = report.dataset.model_copy(update={"name": "known", "languages": ("en", "nl"), "fingerprint": "b" * 64})
    rates = [score("known", 0.1, 0.1 + change, language) for language in ("all", "en", "nl")]
    return report.model_copy(update={"guards": (guard,), "scores": (*report.scores, *rates)})


def run_code_of(text: str, folder: Path, places: dict[str, Path]) -> str:
    """Run the card's code as it stands, in a folder in which the names that it uses lead to `places`; returns what it printed."""
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    folder.mkdir()
    for name, place in places.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(place)
    (folder / "code.py").write_text(code)
    environment = os.environ | {"PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, "code.py"], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_the_hub_reads_this_models_rates_as_its_own_and_the_base_models_as_something_else(report: EvaluationReport):
    results = card_of(report).data.eval_results
    rates = {(result.metric_type, result.metric_name): result.metric_value for result in results}
    target = report.target
    assert rates == {
        ("wer", "WER"): round(100 * target.wer_tuned.value, 2),
        ("cer", "CER"): round(100 * target.cer_tuned, 2),
        ("base_model_wer", "WER of the base model voxfactory-tiny, for comparison"): round(100 * target.wer_base.value, 2),
        ("base_model_cer", "CER of the base model voxfactory-tiny, for comparison"): round(100 * target.cer_base, 2),
    }
    assert {result.dataset_revision for result in results} == {report.dataset.fingerprint[:12]}


def test_the_metadata_survive_being_read_and_written_again(full_report: EvaluationReport):
    data = card_of(with_guard(full_report, 0.0)).data
    assert ModelCardData(**data.to_dict()).to_yaml() == data.to_yaml()
    sets = {(result.dataset_name, result.dataset_config) for result in data.eval_results}
    assert sets == {("digits-de", None), ("known", None), ("known (en)", "en"), ("known (nl)", "nl")}
    assert len(data.eval_results) == 4 * len(sets)


@pytest.mark.parametrize(
    ("method", "form", "library", "relation", "tag"),
    [
        ("lora", None, "peft", "adapter", "lora"),
        ("lora", Form.ADAPTER, "peft", "adapter", "lora"),
        ("lora", Form.MERGED, "transformers", "finetune", "merged"),
        ("full", None, "transformers", "finetune", "voxtral"),
        ("full", Form.FULL, "transformers", "finetune", "voxtral"),
    ],
)
def test_each_form_is_described_as_what_it_is(
    method: str, form: Form | None, library: str, relation: str, tag: str, request: pytest.FixtureRequest
):
    report = request.getfixturevalue(f"{method}_report")
    data = card_of(report, form, base_repository="somebody/tiny-base").data
    assert (data.library_name, data.base_model, data.base_model_relation) == (library, "somebody/tiny-base", relation)
    assert tag in data.tags
    assert ("lora" in data.tags) is (method == "lora")
    assert ("merged" in data.tags) is (form is Form.MERGED)
    assert (data.license, data.language, data.pipeline_tag) == ("cc-by-4.0", ["de"], "automatic-speech-recognition")
    unpublished = card_of(report, form).data
    assert (unpublished.base_model, unpublished.get("base_model_relation"), unpublished.datasets) == (None, None, None)


@pytest.mark.parametrize(("method", "form"), [("full", Form.ADAPTER), ("full", Form.MERGED), ("lora", Form.FULL)])
def test_a_form_that_the_training_does_not_have_is_refused(method: str, form: Form, request: pytest.FixtureRequest):
    with pytest.raises(PublishingError, match=f"method={method} has no form {form}"):
        card_of(request.getfixturevalue(f"{method}_report"), form)


def test_parts_appear_only_when_they_are_true(report: EvaluationReport):
    text = str(card_of(report))
    lora = report.model.method is Method.LORA
    for part in ("lora_rank", "PeftModel", "LoRA adapter", "is on no Hub"):
        assert (part in text) is lora, part
    for part in ("freeze_audio_tower", "Every weight was trained"):
        assert (part in text) is not lora, part
    for part in (
        "guard against forgetting",
        "merged",
        "multilingual",
        "Published as",
        "kWh",
        "CO2",
        "GPU",
        "synthetic",
        "None",
        "{{",
    ):
        assert part not in text, part
    assert "\n\n\n" not in text
    assert "No guard set was measured" in text


def test_every_option_of_the_run_is_on_the_card(report: EvaluationReport):
    text = str(card_of(report))
    configuration = json.loads((report.model.folder / "training_config.json").read_text())
    foreign = ("freeze_audio_tower",) if report.model.method is Method.LORA else ("lora_", "quantise_base", "train_projector")
    for key, value in (configuration["options"] | configuration["fixed"]).items():
        shown = "not set" if value is None else value
        assert (f"| {key} | {shown} |" in text) is not key.startswith(foreign), key
    assert f"{configuration['parameters']['trained']:,} of {configuration['parameters']['all']:,} parameters" in text
    assert configuration["machine"]["processor"] in text


def test_guard_sets_stand_beside_the_target_and_losses_among_the_limits(full_report: EvaluationReport):
    held, lost = (str(card_of(with_guard(full_report, change))) for change in (0.01, 0.2))
    assert "known guards against forgetting" in held
    assert "| known | nl | 100 | 10.0 % | 11.0 % (8.0 % to 14.0 %) | +1.0 (-2.0 to +4.0) | no difference beyond chance |" in held
    assert "It lost on" not in held
    assert "- It lost on known (nl): WER 10.0 % before, 30.0 % after." in lost
    assert "Only German (de), English (en), Dutch (nl) were measured." in held
    assert "\n\n\n" not in lost


def test_other_speech_that_was_trained_on_is_told_from_what_was_only_measured(full_report: EvaluationReport, tmp_path: Path):
    used = {"replay_fingerprints": ["b" * 64, "e" * 64]}
    trained = with_run(with_guard(full_report, 0.0), tmp_path / "run", training_config=used)
    measured, mixed_in = str(card_of(with_guard(full_report, 0.0))), str(card_of(trained))
    rest = f"| 6 | not recorded | unknown | `{'b' * 64}` |"
    assert f"| known | en, nl | not used {rest}" in measured
    assert f"| known | en, nl | 18 {rest}" in mixed_in
    assert f"`{'e' * 64}`" in mixed_in
    assert ["rows of other speech were mixed in" in text for text in (measured, mixed_in)] == [False, True]


def test_a_model_of_several_languages_says_so(full_report: EvaluationReport):
    dataset = full_report.dataset.model_copy(update={"languages": ("de", "no")})
    card = ModelCard(str(card_of(full_report.model_copy(update={"dataset": dataset}))))
    assert card.data.language == ["de", "no"]  # a YAML reader takes an unquoted `no` for False
    assert "multilingual" in card.data.tags
    assert 'language="de",  # or "no"' in card.text


def test_a_published_dataset_is_linked_and_its_revision_stands_with_the_rates(full_report: EvaluationReport):
    card = card_of(with_guard(full_report, 0.0), dataset_repository="somebody/digits", dataset_revision="c" * 40)
    assert card.data.datasets == ["somebody/digits"]
    where = {(r.dataset_type, r.dataset_split, r.dataset_revision) for r in card.data.eval_results}
    assert where == {("somebody/digits", "test", "c" * 40), ("known", "eval", "b" * 12)}
    assert "(/datasets/somebody/digits)" in card.text


def test_adapter_and_merged_model_lead_to_each_other(lora_report: EvaluationReport):
    links = {"sibling": "somebody/other", "endpoint": "http://127.0.0.1:8000"}
    assert "merged into its base | [somebody/other](http://127.0.0.1:8000/somebody/other) |" in card_of(lora_report, **links).text
    merged = card_of(lora_report, Form.MERGED, **links).text
    assert "as an adapter alone | [somebody/other](http://127.0.0.1:8000/somebody/other) |" in merged
    assert "measured with the adapter beside its base model, before it was merged" in merged


def test_the_data_are_counted_and_what_is_not_known_is_said(report: EvaluationReport):
    text = card_of(report).text
    assert "| training | de | 18 |" in text
    assert "| evaluation | de | 6 |" in text
    assert "Consent of the speakers | not recorded: nobody" in text
    assert "Licence of the data | unknown: nobody" in text
    told = report.dataset.model_copy(update={"licence": "cc0-1.0", "consent": "synthetic voices\n| nobody was recorded"})
    text = card_of(report.model_copy(update={"dataset": told})).text
    assert "| Consent of the speakers | synthetic voices \\| nobody was recorded |" in text
    assert "| Licence of the data | cc0-1.0 |" in text
    assert "how well it hears people was not measured" in text


@pytest.mark.parametrize(
    ("licence", "identifier", "name"),
    [("cc-by-4.0", "cc-by-4.0", None), ("CC BY 4.0", "cc-by-4.0", None), ("Our terms, v2", "other", "our-terms-v2")],
)
def test_a_licence_that_the_hub_does_not_know_is_named_as_another(
    licence: str, identifier: str, name: str | None, full_report: EvaluationReport
):
    card = card_of(full_report, licence=licence)
    assert (card.data.license, card.data.get("license_name")) == (identifier, name)
    assert f"| Licence | {licence} |" in card.text


def test_carbon_needs_a_counter_and_the_intensity_of_the_grid(full_report: EvaluationReport, tmp_path: Path):
    counted = {"energy_j": {"GPU 0 NVIDIA H200": 3.6e6, "processor package-0": 1.8e6}}
    grid = {"grid_g_co2_per_kwh": 300.0}
    cards = [
        card_of(with_run(full_report, tmp_path / str(number), train_results=results))
        for number, results in enumerate((counted, grid, counted | grid))
    ]
    assert [card.data.get("co2_eq_emissions", {}).get("emissions") for card in cards] == [None, None, 450.0]
    assert ["kWh" in card.text for card in cards] == [True, False, True]
    assert "| Energy counted by processor package-0 | 0.5 kWh |" in cards[0].text
    assert "| Carbon | 450 g CO2 equivalent, at 300 g a kWh" in cards[2].text


def test_a_run_on_a_gpu_names_it(full_report: EvaluationReport, tmp_path: Path):
    machine = json.loads((full_report.model.folder / "training_config.json").read_text())["machine"]
    gpu = machine | {"gpu": "NVIDIA H200", "gpus": 1, "gpu_memory_gib": 139.8, "cuda": "12.9"}
    text = card_of(with_run(full_report, tmp_path / "run", training_config={"machine": gpu})).text
    assert "| GPU | 1 x NVIDIA H200, 139.8 GiB, CUDA 12.9 |" in text


def test_a_run_that_wrote_less_down_has_a_card_that_says_less(full_report: EvaluationReport, tmp_path: Path):
    nothing = dict.fromkeys(("machine", "parameters", "fixed"))
    older = with_run(full_report, tmp_path / "run", training_config=nothing, train_results={"energy_j": None})
    text = card_of(older).text
    assert "Training took" in text
    assert "| Processor |" not in text
    assert "parameters were trained" not in text


def test_it_says_what_picked_the_weights_and_what_ended_the_training(full_report: EvaluationReport, tmp_path: Path):
    by_wer = {"best_validation_wer": 0.123, "validation_decoded": 43, "ended_by": "plan"}
    text = card_of(with_run(full_report, tmp_path / "wer", train_results=by_wer)).text
    assert "lowest word error rate on 43 utterances of the training side (12.3 %)" in text
    assert "ended early" not in text
    options = json.loads((full_report.model.folder / "training_config.json").read_text())["options"] | {"patience": 3}
    by_loss = {"best_validation_wer": None, "best_validation_loss": 0.5, "ended_by": "patience"}
    stopped = with_run(full_report, tmp_path / "loss", train_results=by_loss, training_config={"options": options})
    text = card_of(stopped).text
    assert "lowest loss on 5 % of the training side (0.5000)" in text
    assert "Training ended early: the last 3 evaluations were no better than the best before." in text


def test_a_card_without_its_dataset_is_refused(full_report: EvaluationReport, tmp_path: Path):
    gone = full_report.dataset.model_copy(update={"folder": tmp_path})
    with pytest.raises(PublishingError, match=r"no longer at .*Ingest"):
        card_of(full_report.model_copy(update={"dataset": gone}))


def test_the_folder_is_complete_and_holds_nothing_of_this_machine(staged: StagedModel, report: EvaluationReport):
    names = {path.name for path in staged.folder.iterdir()}
    weights = (
        {"adapter_model.safetensors", "adapter_config.json"} if report.model.method is Method.LORA else {"model.safetensors"}
    )
    expected = {"README.md", "config.json", "tekken.json", "processor_config.json", "training_config.json", MANIFEST} | weights
    assert names - {"generation_config.json"} == expected | {"train_results.json", "eval_results.json", "wer.png", "loss.png"}
    assert set(re.findall(r"!\[.*?\]\((.*?)\)", staged.card.read_text())) == {"wer.png", "loss.png"}
    for path in staged.folder.glob("*.json"):
        assert str(report.folder.parent) not in path.read_text()
    assert open_staged(staged.folder.parent) == staged


def test_the_code_on_the_card_transcribes_as_evaluation_did(full_report: EvaluationReport, tmp_path: Path):
    staged = stage(full_report, PUBLICATION, Form.FULL, tmp_path / "published")
    example = next(example for example in full_report.examples if example.tuned != example.base)
    places = {NAME: staged.folder, "clip.wav": example.audio_path}
    assert run_code_of(staged.card.read_text(), tmp_path / "here", places) == example.tuned


def test_an_adapter_asks_for_the_very_commit_of_a_base_on_a_hub(lora_report: EvaluationReport):
    base = lora_report.model.base.model_copy(update={"name": "mistralai/Voxtral-Mini-3B-2507", "revision": "d" * 40})
    card = card_of(lora_report.model_copy(update={"model": lora_report.model.model_copy(update={"base": base})}))
    assert 'base_id = "mistralai/Voxtral-Mini-3B-2507"\n' in card.text
    assert f'from_pretrained(base_id, revision="{"d" * 40}")' in card.text
    assert "no general speech recogniser" not in card.text


def test_the_code_for_a_merged_model_needs_no_base(lora_report: EvaluationReport, tmp_path: Path):
    terms = Publication(name=NAME, forms=(Form.MERGED,))
    staged = stage(lora_report, terms, Form.MERGED, tmp_path / "published")
    example = next(example for example in lora_report.examples if example.tuned != example.base)
    text = staged.card.read_text()
    assert "peft" not in text.partition("## How well it hears")[0]
    assert run_code_of(text, tmp_path / "here", {NAME: staged.folder, "clip.wav": example.audio_path}) == example.tuned


def test_the_card_says_why_the_gate_let_the_model_through_and_keeps_a_persons_words(full_report: EvaluationReport):
    reasons = ("digits: WER 100.0% -> 10.0%, better", "approved by a person: Anna listened to it")
    silent = Silence(clips=20, seconds=57.5, words_base=2, words_tuned=5)
    decided = full_report.model_copy(update={"silence": silent}).decided(GateDecision(publish=True, reasons=reasons))
    text = card_of(decided).text
    assert "The gate let it through:\n\n- digits: WER 100.0% -> 10.0%, better\n- approved by a person\n" in text
    assert "Anna" not in text
    assert "it made up 5 words, its base 2" in text
    forced = full_report.decided(GateDecision(publish=False, reasons=("digits: not better",)))
    assert "The gate did not let it through, and it was published all the same:\n\n- digits: not better\n" in card_of(forced).text
