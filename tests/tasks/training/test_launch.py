"""Trainings in several processes, and with less memory than they would like: the real processes on the shipped model."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from infra.accelerate import CONFIGURATIONS, configuration_file
from infra.errors import SettingsError, TrainingError, TrainingInterrupted, TrainingLost
from infra.progress import Progress, listening
from infra.settings import settings
from tasks.contracts import Checkpoint, DatasetVersion, Method
from tasks.training import accelerated, channel, launch, ranks
from tasks.training.launch import train
from tasks.training.options import TrainingOptions
from tasks.training.process import TrainingSpec, refuse_what_cannot_work

ROOT = Path(__file__).parents[3]
# The last of the steps has fewer rows than the others, so that one process of two has nothing left to learn from.
OPTIONS = TrainingOptions(
    method=Method.FULL, epochs=2, batch_size=4, gradient_accumulation=2, learning_rate=3e-4, checkpoint_steps=2, replay_share=0
)


def configure(patch: pytest.MonkeyPatch, accelerate: str | None, processes: int) -> None:
    patch.delenv("VOXFACTORY_ACCELERATE", raising=False)
    if accelerate:
        patch.setenv("VOXFACTORY_ACCELERATE", accelerate)
    patch.setenv("VOXFACTORY_TRAINING_PROCESSES", str(processes))
    settings.cache_clear()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, tiny: Checkpoint, digits: DatasetVersion) -> TrainingSpec:
    """A run in one process, launched by accelerate."""
    described = TrainingSpec(folder=tmp_path_factory.mktemp("alone") / "run", base=tiny, dataset=digits, options=OPTIONS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOXFACTORY_HOME", str(described.folder.with_name("home")))
        configure(patch, "cpu", 1)
        train(described)
    settings.cache_clear()
    return described


def again(alone: TrainingSpec, folder: Path) -> TrainingSpec:
    return alone.model_copy(update={"folder": folder})


def assert_equal_results(first: Path, second: Path) -> None:
    expected, found = (load_file(folder / "final-model" / "model.safetensors") for folder in (first, second))
    assert expected.keys() == found.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-5, msg=name)
    losses = [dict(json.loads((folder / "eval_results.json").read_text())["eval_loss"]) for folder in (first, second)]
    assert losses[0].items() <= {step: pytest.approx(loss, abs=1e-5) for step, loss in losses[1].items()}.items()


def at_a_step(patch: pytest.MonkeyPatch, act: Callable[[psutil.Process], object]) -> list[psutil.Process]:
    """Do something to the process that was started when it tells of its first step; returns what it had started until then."""
    receive, start = channel.receive, launch.start
    started: list[psutil.Process] = []
    processes: list[psutil.Process] = []

    def remember(*arguments: object, **named: object) -> "subprocess.Popen[bytes]":
        process = start(*arguments, **named)
        started.append(psutil.Process(process.pid))
        return process

    def watch(line: str) -> "channel.Message | None":
        message = receive(line)
        if isinstance(message, channel.Step) and not processes:
            processes.extend([started[-1], *started[-1].children()])
            act(started[-1])
        return message

    patch.setattr(launch, "start", remember)
    patch.setattr(channel, "receive", watch)
    return processes


def run_into(
    described: TrainingSpec, processes: int, act: Callable[[psutil.Process], object], raised: type[TrainingError], said: str
) -> None:
    """Train until that is done at the first step, and see that it is told and leaves nobody behind."""
    with pytest.MonkeyPatch.context() as patch:
        configure(patch, "cpu" if processes > 1 else None, processes)
        involved = at_a_step(patch, act)
        with pytest.raises(raised, match=said):
            train(described)
    settings.cache_clear()
    assert len(involved) == (3 if processes > 1 else 1), "a launcher is there for several"
    assert psutil.wait_procs(involved, timeout=10)[1] == []


def test_two_processes_that_were_told_to_stop_end_in_the_weights_of_one(
    alone: TrainingSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """One process is told to stop at once; two go on and are told to; two finish."""
    described = again(alone, tmp_path / "run")
    for processes in (1, 2):
        run_into(described, processes, psutil.Process.terminate, TrainingInterrupted, "with a checkpoint")
    configure(monkeypatch, "cpu", 2)
    assert train(described).steps == 5
    assert_equal_results(alone.folder, described.folder)
    assert json.loads((described.folder / "training_config.json").read_text())["fixed"]["processes"] == 2
    plans = [(spec.folder / "plan.jsonl").read_text() for spec in (alone, described)]
    assert plans[0] == plans[1]


def test_when_one_of_two_processes_or_their_launcher_is_killed_nobody_is_left(
    tiny: Checkpoint, digits: DatasetVersion, tmp_path: Path
):
    options = OPTIONS.model_copy(update={"method": Method.LORA, "checkpoint_steps": 1})
    described = TrainingSpec(folder=tmp_path / "run", base=tiny, dataset=digits, options=options)
    for act in (lambda launcher: launcher.children()[1].kill(), psutil.Process.kill):
        run_into(described, 2, act, TrainingLost, "killed by SIGKILL")


# Memory for two rows at a time, from the second step on. It stands for a graphics card's: the same error, at the same place.
_SCRIPT = """
import sys, torch
from pathlib import Path
from transformers import Trainer
from tasks.training.process import main

step = Trainer.training_step
def limited(self, model, inputs, *arguments):
    if self.state.global_step > 0 and len(inputs["labels"]) > 2:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return step(self, model, inputs, *arguments)
Trainer.training_step = limited
sys.exit(main(Path(sys.argv[1])))
"""


def test_a_training_without_enough_memory_takes_less_at_a_time_and_ends_in_the_same_weights(
    alone: TrainingSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    start, attempts = launch.start, []

    def start_limited(command: list[str], *arguments: object, **named: object) -> "subprocess.Popen[bytes]":
        attempts.append(command)
        return start([sys.executable, "-c", _SCRIPT, command[-1]], *arguments, **named)

    monkeypatch.setattr(launch, "start", start_limited)
    described = again(alone, tmp_path / "run")
    heard: list[Progress] = []
    with listening(heard.append):
        train(described)
    assert len(attempts) == 3
    assert_equal_results(alone.folder, described.folder)
    notes = [progress.note for progress in heard if progress.note.startswith("out of memory")]
    assert notes == [
        "out of memory, now 4 rows at a time, activations computed twice",
        "out of memory, now 2 rows at a time, activations computed twice",
    ]
    log = (described.folder / "training_results" / "training.log").read_text()
    assert log.count("WARNING tasks.training.process: Out of memory with 4 rows at a time") == 2
    fixed = json.loads((described.folder / "training_config.json").read_text())["fixed"]
    assert (fixed["rows_at_a_time"], fixed["activation_checkpointing"]) == (2, True)


def test_what_is_wrong_for_all_processes_is_told_once_and_before_they_begin(
    tiny: Checkpoint, digits: DatasetVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    configure(monkeypatch, "cpu", 2)
    for options, said in (
        ({"batch_size": 3}, "batch_size=3 cannot be divided among 2 processes"),
        ({"optimizer": "adamw_8bit"}, "optimizer=adamw_8bit needs a CUDA GPU"),
    ):
        described = TrainingSpec(folder=tmp_path / "run", base=tiny, dataset=digits, options=OPTIONS.model_copy(update=options))
        with pytest.raises(TrainingError, match=said):
            train(described)
    assert not list((tmp_path / "run").glob("checkpoint-*"))


def test_a_configuration_that_training_cannot_use_is_refused(
    tiny: Checkpoint, digits: DatasetVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    described = TrainingSpec(folder=tmp_path / "run", base=tiny, dataset=digits, options=OPTIONS)
    file = tmp_path / "ours.yaml"
    file.write_text("distributed_type: MULTI_GPU\nnum_machines: 2\nnum_processes: 2\n")
    configure(monkeypatch, str(file), 2)
    with pytest.raises(SettingsError, match=r"ours\.yaml is for 2 machines"):
        train(described)


@pytest.mark.fast
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", sorted(set(CONFIGURATIONS) - {"cpu"}))
def test_where_there_is_no_gpu_a_configuration_for_gpus_is_refused(
    name: str,
    tiny: Checkpoint,
    digits: DatasetVersion,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
):
    described = TrainingSpec(folder=tmp_path, base=tiny, dataset=digits, options=OPTIONS)
    (tmp_path / "spec.json").write_text(described.model_dump_json())
    monkeypatch.setenv("VOXFACTORY_ACCELERATE", name)
    settings.cache_clear()
    assert accelerated.main(tmp_path / "spec.json") == SettingsError.exit_code
    told = channel.receive(capsys.readouterr().out)
    assert isinstance(told, channel.Failed)
    assert told.problem.startswith("There is no GPU")


@pytest.mark.fast
@pytest.mark.parametrize(
    "method", [{"best_by": "wer"}, {"best_by": "loss", "quantise_base": True}, {"best_by": "loss", "lora_average": 0.9}]
)
def test_what_divided_weights_cannot_do_is_refused(
    method: dict[str, object], tiny: Checkpoint, digits: DatasetVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(TrainingError, match=f"fsdp.*{next(reversed(method))}"):
        refuse_what_cannot_work(TrainingSpec(folder=tmp_path, base=tiny, dataset=digits, options=TrainingOptions(**method)))


@pytest.mark.fast
def test_every_configuration_in_the_tree_is_one_of_accelerate():
    from accelerate.commands.config.config_args import load_config_from_file

    found = {path for path in (ROOT / "infra").rglob("*.y*ml") if "distributed_type" in path.read_text()}
    assert found == {configuration_file(name) for name in CONFIGURATIONS}
    for path in found:
        assert load_config_from_file(str(path)).num_machines == 1


@pytest.mark.fast
def test_the_layers_that_are_divided_are_those_of_the_model(tiny: Checkpoint):
    from accelerate.commands.config.config_args import load_config_from_file
    from transformers import AutoConfig, VoxtralForConditionalGeneration

    with torch.device("meta"):
        model = VoxtralForConditionalGeneration(AutoConfig.from_pretrained(tiny.folder))
    named = load_config_from_file(str(configuration_file("fsdp"))).fsdp_config["fsdp_transformer_layer_cls_to_wrap"].split(",")
    assert set(named) <= {type(module).__name__ for module in model.modules()}


@pytest.mark.fast
@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"ACCELERATE": "tpu"}, "VOXFACTORY_ACCELERATE='tpu'.*one of cpu, gpu, ddp, fsdp"),
        ({"TRAINING_PROCESSES": "2"}, "VOXFACTORY_TRAINING_PROCESSES='2'.*set VOXFACTORY_ACCELERATE too"),
    ],
)
def test_settings_that_cannot_be_are_refused(variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch):
    for name, value in variables.items():
        monkeypatch.setenv(f"VOXFACTORY_{name}", value)
    settings.cache_clear()
    with pytest.raises(SettingsError, match=said):
        settings()


@pytest.mark.fast
def test_a_process_whose_launcher_is_gone_before_it_begins_ends():
    code = "from tasks.training import ranks; ranks.end_with_launcher(); print('began')"
    for launcher, began in ((os.getpid(), True), (psutil.Process().ppid(), False)):
        environment = os.environ | {ranks.LAUNCHER_PID: str(launcher)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, cwd=ROOT
        )
        assert (done.returncode == 0, "began" in done.stdout) == (began, began)


@pytest.mark.fast
def test_one_process_sees_one_gpu(monkeypatch: pytest.MonkeyPatch):
    for given, seen in ((None, "0"), ("2,3", "2"), ("", "")):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if given is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        assert ranks.one_gpu() == {"CUDA_VISIBLE_DEVICES": seen}
