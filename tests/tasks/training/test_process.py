"""The real process on the shipped model: outputs, interruption, resumption."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from infra.errors import ModelError, TrainingError, TrainingInterrupted, TrainingLost
from infra.storage import exclusive
from tasks.contracts import Checkpoint, DatasetVersion, EvaluationReport, Method
from tasks.training import channel, launch
from tasks.training.launch import open_run, run_address, train
from tasks.training.options import TrainingOptions
from tasks.training.process import TrainingSpec
from tasks.training.trainer import last_checkpoint
from tasks.voxtral.checkpoint import find_checkpoint

SHORT = TrainingOptions(method=Method.FULL, epochs=2, batch_size=4, learning_rate=3e-4, checkpoint_steps=2, max_steps=6)


def spec(folder: Path, base: Checkpoint, dataset: DatasetVersion, options: TrainingOptions = SHORT) -> TrainingSpec:
    return TrainingSpec(folder=folder, base=base, dataset=dataset, options=options)


def weights(folder: Path, name: str = "final-model/model.safetensors") -> dict[str, torch.Tensor]:
    return load_file(folder / name)


def signal_after(steps: int, number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send the training process a signal once it has reported so many steps."""
    receive, start = channel.receive, launch.start
    started: list[subprocess.Popen[bytes]] = []

    def remember(*arguments: object, **named: object) -> "subprocess.Popen[bytes]":
        started.append(start(*arguments, **named))
        return started[-1]

    def watch(line: str) -> "channel.Message | None":
        message = receive(line)
        if isinstance(message, channel.Step) and message.step == steps:
            os.kill(started[-1].pid, number)
        return message

    monkeypatch.setattr(launch, "start", remember)
    monkeypatch.setattr(channel, "receive", watch)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny: Checkpoint, digits: DatasetVersion) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    train(spec(folder, tiny, digits))
    return folder


def test_a_run_leaves_everything_that_it_promises(undisturbed: Path, tiny: Checkpoint, digits: DatasetVersion):
    model = open_run(undisturbed)
    assert (model.steps, model.dataset_fingerprint, model.base) == (6, digits.fingerprint, tiny)
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
    for name in ("trainer_state.json", "train_results.json", "validation_results.json", "plan.jsonl", "loss.png"):
        assert (undisturbed / name).stat().st_size > 0
    assert (undisturbed / "training_results" / "training.log").is_file()


def test_training_moves_the_weights_but_not_the_sinusoids(undisturbed: Path, tiny: Checkpoint):
    before, after = weights(tiny.folder, "model.safetensors"), weights(undisturbed)
    moved = {name for name in before if not torch.allclose(before[name].float(), after[name], atol=1e-7)}
    assert any("audio_tower" in name for name in moved)
    assert not [name for name in moved if "embed_positions" in name]


def test_an_interrupted_adapter_run_ends_in_the_weights_of_an_undisturbed_one(
    tiny: Checkpoint, digits: DatasetVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    options = SHORT.model_copy(update={"method": Method.LORA, "lora_dropout": 0.1})
    train(spec(tmp_path / "undisturbed", tiny, digits, options))
    with monkeypatch.context() as patch:
        signal_after(3, signal.SIGTERM, patch)
        with pytest.raises(TrainingInterrupted):
            train(spec(tmp_path / "run", tiny, digits, options))
    train(spec(tmp_path / "run", tiny, digits, options))
    expected, resumed = (weights(tmp_path / run, "final-model/adapter_model.safetensors") for run in ("undisturbed", "run"))
    for name, weight in expected.items():
        assert torch.equal(weight, resumed[name]), name


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_run_goes_on_to_the_weights_of_an_undisturbed_one(
    number: signal.Signals,
    undisturbed: Path,
    tiny: Checkpoint,
    digits: DatasetVersion,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        signal_after(3, number, patch)
        with pytest.raises(TrainingInterrupted if number is signal.SIGTERM else TrainingLost, match="same command"):
            train(spec(folder, tiny, digits))
    assert not (folder / "final-model").exists()
    resumed_from = last_checkpoint(folder)
    assert resumed_from is not None
    assert resumed_from.name in ("checkpoint-2", "checkpoint-3", "checkpoint-4")
    train(spec(folder, tiny, digits))
    expected, resumed = weights(undisturbed), weights(folder)
    assert expected.keys() == resumed.keys()
    for name, weight in expected.items():
        assert torch.equal(weight, resumed[name]), name


def test_a_run_whose_parent_is_killed_writes_a_checkpoint_and_ends(tiny: Checkpoint, digits: DatasetVersion, tmp_path: Path):
    long = SHORT.model_copy(update={"epochs": 200, "max_steps": None, "checkpoint_steps": 10_000})
    described = spec(tmp_path / "run", tiny, digits, long).model_dump_json()
    code = (
        "import sys; from infra.progress import listening; from tasks.training.launch import train; "
        "from tasks.training.process import TrainingSpec\n"
        "with listening(lambda p: print(p.done, flush=True)): train(TrainingSpec.model_validate_json(sys.argv[1]))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, described], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline()
    parent.kill()
    parent.wait()
    with exclusive(tmp_path / ".run.lock"):  # the killed parent's lock is free at once
        deadline = time.monotonic() + 60
        while last_checkpoint(tmp_path / "run") is None and time.monotonic() < deadline:
            time.sleep(0.2)
    assert last_checkpoint(tmp_path / "run") is not None
    assert not (tmp_path / "run" / "final-model").exists()


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


def test_replayed_data_is_trained_on_too(tiny: Checkpoint, digits: DatasetVersion, tmp_path: Path):
    from tests.builders.speech import digit_version

    english = digit_version(tmp_path, "en", clips=12)
    options = TrainingOptions(method=Method.FULL, epochs=1, batch_size=8, max_steps=1, without_language=0)
    train(spec(tmp_path / "run", tiny, digits, options).model_copy(update={"replay": (english,)}))
    languages = [json.loads(line)["language"] for line in (tmp_path / "run" / "plan.jsonl").read_text().splitlines()]
    assert set(languages) == {"de", "en"}


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
