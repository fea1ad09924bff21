"""The real process on the shipped model: outputs, interruption, resumption."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from peft import get_peft_model_state_dict
from safetensors.torch import load_file

from infra.errors import ModelError, TrainingError, TrainingInterrupted, TrainingLost
from infra.settings import settings
from infra.storage import exclusive
from tasks.contracts import Checkpoint, DatasetVersion, EvaluationReport, Method
from tasks.training import launch
from tasks.training.launch import open_run, run_address, train
from tasks.training.options import TrainingOptions
from tasks.training.process import TrainingSpec
from tasks.training.trainer import last_checkpoint
from tasks.voxtral.checkpoint import find_checkpoint, load_model
from tasks.voxtral.lora import go_on_from, trainable_names
from tests.builders.figures import figures
from tests.builders.speech import digit_version
from tests.builders.trainings import signal_after

STEPS = 11  # the loss is told at the tenth
SHORT = TrainingOptions(method=Method.FULL, epochs=3, batch_size=4, learning_rate=3e-4, checkpoint_steps=4, max_steps=STEPS)


def spec(
    folder: Path, base: Checkpoint, dataset: DatasetVersion, options: TrainingOptions = SHORT, *replay: DatasetVersion
) -> TrainingSpec:
    return TrainingSpec(folder=folder, base=base, dataset=dataset, replay=replay, options=options)


def weights(folder: Path, name: str = "final-model/model.safetensors") -> dict[str, torch.Tensor]:
    return load_file(folder / name)


def same_weights(first: Path, second: Path, name: str) -> None:
    """In the last model and in the best, which is the one that is published."""
    for model in ("final-model", "best-model"):
        expected, found = weights(first / model, name), weights(second / model, name)
        assert expected.keys() == found.keys()
        for key, weight in expected.items():
            assert torch.equal(weight, found[key]), f"{model} {key}"


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> DatasetVersion:
    return digit_version(tmp_path_factory.mktemp("english"), "en", clips=12)


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, tiny: Checkpoint, digits: DatasetVersion, english: DatasetVersion
) -> Path:
    """A whole run with English replayed, where carbon is known, after an attempt that took 1000 s elsewhere."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    folder.mkdir()
    (folder / "spent.json").write_text('{"seconds": 1000.0, "energy_j": {"a GPU elsewhere": 5.0}}')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOXFACTORY_HOME", str(folder.with_name("home")))
        patch.setenv("VOXFACTORY_GRID_G_CO2_PER_KWH", "42.5")
        settings.cache_clear()
        train(spec(folder, tiny, digits, SHORT, english))
    settings.cache_clear()
    return folder


def test_a_run_leaves_everything_that_it_promises(undisturbed: Path, tiny: Checkpoint, digits: DatasetVersion):
    model = open_run(undisturbed)
    assert (model.steps, model.dataset_fingerprint, model.base) == (STEPS, digits.fingerprint, tiny)
    for name in ("final-model", "best-model"):
        folder = undisturbed / name
        assert {path.name for path in folder.iterdir()} == {
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "processor_config.json",
            "tekken.json",
        }
        assert find_checkpoint(str(folder)).revision
    configuration = json.loads((undisturbed / "training_config.json").read_text())
    assert configuration["dataset_fingerprint"] == digits.fingerprint
    assert configuration["packages"]["torch"].startswith("2.")
    for name in ("trainer_state.json", "train_results.json", "eval_results.json", "plan.jsonl", "loss.png", "wer.png"):
        assert (undisturbed / name).stat().st_size > 0
    assert [path.name for path in (undisturbed / "training_results").iterdir()] == ["training.log"], "it is not tracked"


def test_a_run_tells_what_it_ran_on_and_what_all_its_attempts_spent(undisturbed: Path):
    results = json.loads((undisturbed / "train_results.json").read_text())
    assert 1000 < open_run(undisturbed).train_seconds == results["seconds"] < 1300
    assert "a GPU elsewhere" not in results["energy_j"]
    assert results["grid_g_co2_per_kwh"] == 42.5
    assert json.loads((undisturbed / "spent.json").read_text())["seconds"] > 1000  # written with the checkpoint
    configuration = json.loads((undisturbed / "training_config.json").read_text())
    assert configuration["machine"]["cores"] >= 1
    assert configuration["machine"]["memory_gib"] > 0
    assert 0 < configuration["parameters"]["trained"] < configuration["parameters"]["all"]
    assert configuration["fixed"]["lr_scheduler_type"] == "cosine"


def test_replayed_data_is_trained_on_too(undisturbed: Path, english: DatasetVersion):
    languages = [json.loads(line)["language"] for line in (undisturbed / "plan.jsonl").read_text().splitlines()]
    assert set(languages) == {"de", "en", None}
    configuration = json.loads((undisturbed / "training_config.json").read_text())
    assert configuration["replay_fingerprints"] == [english.fingerprint]


def test_training_moves_the_weights_but_not_the_sinusoids(undisturbed: Path, tiny: Checkpoint):
    before, after = weights(tiny.folder, "model.safetensors"), weights(undisturbed)
    moved = {name for name in before if not torch.allclose(before[name].float(), after[name], atol=1e-7)}
    assert any("audio_tower" in name for name in moved)
    assert not [name for name in moved if "embed_positions" in name]


@pytest.fixture
def tracked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of this test are recorded with Trackio."""
    monkeypatch.setenv("VOXFACTORY_TRACKING", "true")
    settings.cache_clear()


def test_an_interrupted_adapter_run_ends_in_the_weights_of_an_undisturbed_one_though_its_tracker_fails(
    lora_report: EvaluationReport, tracked: None, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    home.mkdir()
    (home / "trackio").write_text("where a folder should be")
    undisturbed = lora_report.model.folder
    described = TrainingSpec.model_validate_json((undisturbed / "spec.json").read_text())
    assert described.options.lora_dropout > 0
    again = described.model_copy(update={"folder": tmp_path / "run"})
    with monkeypatch.context() as patch:
        signal_after(1, signal.SIGTERM, patch)
        with pytest.raises(TrainingInterrupted):
            train(again)
    train(again)
    same_weights(undisturbed, again.folder, "adapter_model.safetensors")
    said = (again.folder / "training_results" / "training.log").read_text()
    warned = [line for line in said.splitlines() if "WARNING tasks.training.tracking" in line]
    assert ["trackio cannot be written" in line for line in warned] == [True, True], "one for each attempt"


def test_a_run_ends_in_the_weights_of_an_undisturbed_one_wherever_it_is_killed(
    undisturbed: Path,
    tiny: Checkpoint,
    digits: DatasetVersion,
    english: DatasetVersion,
    tracked: None,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """Its parent is killed; then it is, between two checkpoints; then it is after the last one, before it is finished.

    It is tracked, which the undisturbed one is not.
    """
    folder = tmp_path / "run"
    described = spec(folder, tiny, digits, SHORT, english)
    kill_the_parent_of(described)
    with exclusive(tmp_path / ".run.lock"):  # the killed parent's lock is free at once
        deadline = time.monotonic() + 60
        while last_checkpoint(folder) is None and time.monotonic() < deadline:
            time.sleep(0.2)
    assert steps_kept(folder) < 4, "no checkpoint was due: it was written because the parent died"
    for step, written, kept in ((6, None, {4}), (STEPS, folder / f"checkpoint-{STEPS}" / "complete", {STEPS})):
        with monkeypatch.context() as patch:
            signal_after(step, signal.SIGKILL, patch, written)
            with pytest.raises(TrainingLost, match="same command"):
                train(described)
        assert steps_kept(folder) in kept
        assert not (folder / "train_results.json").exists()
    assert len((folder / "plan.jsonl").read_text().splitlines()) > STEPS * SHORT.batch_size, "nothing is left for one step more"
    assert train(described).steps == STEPS
    same_weights(undisturbed, folder, "model.safetensors")
    steps = {name: [step for step, _ in values] for name, values in figures(home, described).items()}
    at_the_tenth = ("loss", "learning_rate", "gradient_norm", "audio_seconds_per_second", "peak_memory_gib")
    assert steps == {"validation_loss": [4, 8, STEPS], "validation_wer": [4, 8, STEPS]} | {name: [10] for name in at_the_tenth}


def kill_the_parent_of(described: TrainingSpec) -> None:
    """Train in a process of its own, and kill that once it tells of a step."""
    code = (
        "import sys; from infra.progress import listening; from tasks.training.launch import train; "
        "from tasks.training.process import TrainingSpec\n"
        "with listening(lambda p: p.stage == 'train' and print(p.done, flush=True)): train(TrainingSpec.model_validate_json(sys.argv[1]))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, described.model_dump_json()], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline()
    parent.kill()
    parent.wait()


def steps_kept(folder: Path) -> int:
    """The step of the newest checkpoint that is whole."""
    newest = last_checkpoint(folder)
    assert newest is not None
    return int(newest.name.removeprefix("checkpoint-"))


def test_a_torn_checkpoint_is_not_resumed_from(tmp_path: Path):
    for step, complete in ((2, True), (4, True), (6, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if complete:
            (folder / "complete").touch()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-4"


def test_a_finished_run_is_not_trained_again(
    undisturbed: Path, tiny: Checkpoint, digits: DatasetVersion, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(launch, "start", lambda *_, **__: pytest.fail("a process was started"))
    assert train(spec(undisturbed, tiny, digits)) == open_run(undisturbed)


def test_lora_saves_an_adapter_that_names_its_base_and_no_path(lora_report: EvaluationReport):
    checkpoint = lora_report.model.checkpoint
    assert checkpoint.is_adapter
    saved = load_file(checkpoint.folder / "adapter_model.safetensors")
    assert saved
    assert not [name for name in saved if "audio_tower" in name]
    adapter = (checkpoint.folder / "adapter_config.json").read_text()
    assert json.loads(adapter)["base_model_name_or_path"] == "voxfactory-tiny"
    assert str(checkpoint.folder) not in adapter
    last = lora_report.model.folder / f"checkpoint-{lora_report.model.steps}" / "trained.safetensors"
    assert last.is_file()
    assert not list(lora_report.model.folder.glob("*-model/trained*")), "what a training goes on with is not published"


def test_a_warm_start_has_the_weights_of_the_adapter_and_trains_nothing_else(lora_report: EvaluationReport, tiny: Checkpoint):
    adapter, rank = lora_report.model.checkpoint, TrainingOptions().lora_rank
    started = go_on_from(load_model(tiny, torch.device("cpu"), torch.float32), adapter, rank, projector=True)
    saved = load_file(adapter.folder / "adapter_model.safetensors")
    for name, weight in get_peft_model_state_dict(started).items():
        assert torch.equal(weight, saved.pop(name))
    assert not saved
    assert all("lora_" in name for name in trainable_names(started))
    with pytest.raises(ModelError, match=f"rank {rank}, lora_rank is {2 * rank}"):
        go_on_from(load_model(tiny, torch.device("cpu"), torch.float32), adapter, 2 * rank, projector=True)


def test_every_weight_cannot_go_on_from_an_adapter(
    digits: DatasetVersion, tiny: Checkpoint, lora_report: EvaluationReport, tmp_path: Path
):
    warm = spec(tmp_path, tiny, digits).model_copy(update={"start": lora_report.model.checkpoint})
    with pytest.raises(TrainingError, match=r"method=lora.*Unset warm_start"):
        train(warm)


def test_a_user_error_in_the_process_is_that_error_here(digits: DatasetVersion, lora_report: EvaluationReport, tmp_path: Path):
    with pytest.raises(ModelError, match="cannot be the base of another"):
        train(spec(tmp_path / "run", lora_report.model.checkpoint, digits))


def test_an_optimizer_that_needs_a_gpu_is_refused_without_one(digits: DatasetVersion, tiny: Checkpoint, tmp_path: Path):
    options = SHORT.model_copy(update={"optimizer": "adamw_8bit"})
    with pytest.raises(TrainingError, match="needs a CUDA GPU"):
        train(spec(tmp_path / "run", tiny, digits, options))


def test_a_crash_shows_the_end_of_its_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Checkpoint, digits: DatasetVersion
):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(TrainingError, match="ended with code 1"):
        train(spec(tmp_path / "run", tiny, digits))


@pytest.mark.fast
def test_equal_inputs_have_equal_addresses(tiny: Checkpoint, digits: DatasetVersion, tmp_path: Path):
    address = run_address(tiny, digits, [], SHORT)
    elsewhere = digits.model_copy(update={"folder": tmp_path, "name": "other", "licence": "mit"})
    assert run_address(tiny, elsewhere, [], SHORT) == address
    assert run_address(tiny, digits.model_copy(update={"division": "other"}), [], SHORT) != address
    assert run_address(tiny, digits, [digits], SHORT) != address
    assert run_address(tiny, digits, [], SHORT.model_copy(update={"seed": 1})) != address
    assert run_address(tiny.model_copy(update={"revision": "0"}), digits, [], SHORT) != address
