"""The real Trackio in its real process; what a real training hands over is looked at in test_process.py."""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from urllib.request import Request, urlopen

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from infra.errors import SettingsError
from infra.hub import connection
from infra.processes import free_port, start, stop
from infra.settings import settings
from tasks.contracts import Checkpoint, DatasetVersion
from tasks.training import tracking
from tasks.training.options import TrainingOptions
from tasks.training.process import TrainingSpec
from tasks.training.tracker import refuse_public
from tasks.training.tracking import Track, Tracker, peak_memory_gib
from tests.builders.figures import figures

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory, tiny: Checkpoint, digits: DatasetVersion) -> TrainingSpec:
    """A run that is not trained: only its figures are written."""
    folder = tmp_path_factory.mktemp("runs") / "a1b2"
    (folder / "training_results").mkdir(parents=True)
    described = TrainingSpec(folder=folder, base=tiny, dataset=digits, options=TrainingOptions())
    (folder / "spec.json").write_text(described.model_dump_json())
    return described


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory, spec: TrainingSpec) -> Path:
    """A home with the figures of a run in two attempts, the second from a step before the last; made where others name other places."""
    home = tmp_path_factory.mktemp("tracked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOXFACTORY_HOME", str(home))
        patch.setenv("TRACKIO_SPACE_ID", "somebody/else")
        patch.setenv("TRACKIO_SERVER_URL", "http://127.0.0.1:9/?write_token=x")
        patch.setenv("TRACKIO_DIR", str(home / "elsewhere"))
        settings.cache_clear()
        for attempt, steps in ((1, (10, 20)), (2, (20, 30))):
            tracker = Tracker(spec)
            for step in steps:
                tracker.write(step, {"loss": float(attempt)})
            tracker.write(steps[-1], {"validation_loss": float(attempt)})
            tracker.end()
    settings.cache_clear()
    return home


def test_a_resumed_run_goes_on_in_the_same_one_and_says_nothing_twice(resumed: Path, spec: TrainingSpec):
    assert figures(resumed, spec) == {
        "loss": [(10, 1.0), (20, 1.0), (30, 2.0)],
        "validation_loss": [(20, 1.0), (30, 2.0)],
    }
    assert not (resumed / "elsewhere").exists()


def test_the_dashboard_shows_them_on_loopback(resumed: Path, spec: TrainingSpec, monkeypatch: pytest.MonkeyPatch):
    port = free_port()
    monkeypatch.setenv("VOXFACTORY_HOME", str(resumed))
    monkeypatch.setenv("VOXFACTORY_TRACKIO_PORT", str(port))
    log = resumed / "dashboard.log"
    with log.open("wb") as output:
        process = start([sys.executable, "-m", "deployments.tracking"], {}, output)
    try:
        deadline = time.monotonic() + 240
        while "launched" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with urlopen(f"http://127.0.0.1:{port}/") as page:
            assert page.status == 200
        asked = {"project": spec.dataset.name, "run": spec.folder.name}
        request = Request(f"http://127.0.0.1:{port}/api/get_logs", json.dumps(asked).encode())
        with urlopen(request) as answer:
            assert [row["step"] for row in json.load(answer)["data"] if "loss" in row] == [10, 20, 30]
        taken = subprocess.run([sys.executable, "-m", "deployments.tracking"], capture_output=True, text=True)
        assert taken.returncode == 1
        assert "Set VOXFACTORY_TRACKIO_PORT to a free port" in taken.stderr.splitlines()[-1]
    finally:
        stop(process, 5)


def _is_a_file(home: Path, _: pytest.MonkeyPatch) -> None:
    home.mkdir()
    (home / "trackio").write_text("")


def _is_damaged(home: Path, _: pytest.MonkeyPatch) -> None:
    (home / "trackio").mkdir(parents=True)
    (home / "trackio" / "digits-de.db").write_text("no database at all, " * 100)


def _hangs(home: Path, patch: pytest.MonkeyPatch) -> None:
    """Trackio opens its lock for writing, which waits for ever where a pipe stands that nobody reads."""
    (home / "trackio").mkdir(parents=True)
    os.mkfifo(home / "trackio" / "digits-de.lock")
    patch.setattr(tracking, "_PATIENCE_S", 4.0)


def _is_unreachable(_: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("VOXFACTORY_TRACKIO_SPACE", "me/figures")


@pytest.mark.parametrize(
    ("breaks", "reason"),
    [
        (_is_a_file, "trackio cannot be written"),
        (_is_damaged, "file is not a database"),
        (_hangs, "it did not end within 4 s"),
        (_is_unreachable, "offline mode"),
    ],
)
def test_a_tracker_that_fails_costs_one_warning(
    breaks: Callable[[Path, pytest.MonkeyPatch], None],
    reason: str,
    spec: TrainingSpec,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    breaks(home, monkeypatch)
    settings.cache_clear()
    tracker = Tracker(spec)
    for step in range(3):
        tracker.write(step, {"loss": 1.0})
    tracker.end()
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert reason in warning.message
    assert "\n" not in warning.message


def test_a_tracker_that_takes_nothing_is_not_waited_for(
    spec: TrainingSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    deaf = tmp_path / "deaf"
    deaf.write_text("#!/bin/sh\nexec sleep 600\n")
    deaf.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(deaf))
    tracker = Tracker(spec)
    for step in range(10_000):  # more than a pipe holds
        tracker.write(step, {"loss": 1.0})
    tracker.end()
    (warning,) = caplog.records
    assert "it takes nothing any more" in warning.message


def test_a_space_that_is_public_is_not_written_to(monkeypatch: pytest.MonkeyPatch):
    with connection(settings()) as hub:
        monkeypatch.setenv("HF_TOKEN", hub.token.get_secret_value())
        hub.api().create_repo("local/figures", repo_type="space", space_sdk="gradio", private=False)
        with pytest.raises(SettingsError, match="local/figures is public"):
            refuse_public("local/figures")
        hub.api().create_repo("local/others", repo_type="space", space_sdk="gradio", private=True)
        for space in ("local/others", "local/absent"):
            refuse_public(space)


def test_speed_is_of_the_steps_without_evaluations_and_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    written: list[tuple[int, dict[str, float]]] = []
    clock_s = iter([100.0, 101.0, 150.0, 200.0, 202.0, 203.0])
    monkeypatch.setattr(tracking, "time", SimpleNamespace(monotonic=lambda: next(clock_s)))
    track = Track([9.0, 9.0, 1.0, 2.0, 3.0, 6.0, 5.0, 6.0], 2, SimpleNamespace(write=lambda *told: written.append(told)))
    arguments, control = TrainingArguments(output_dir=str(tmp_path)), TrainerControl()

    def at(step: int, event: Callable[..., None], **told: dict[str, float]) -> None:
        event(arguments, TrainerState(global_step=step), control, **told)

    at(1, track.on_train_begin)
    at(2, track.on_step_end)
    at(2, track.on_evaluate)
    at(2, track.on_save)
    at(3, track.on_step_end)
    at(3, track.on_log, logs={"loss": 2.5, "learning_rate": 1e-4, "grad_norm": 0.5, "epoch": 1.0})
    at(3, track.on_log, logs={"eval_loss": 2.0, "eval_wer": 0.25, "eval_runtime": 3.0})
    at(4, track.on_step_end)
    at(4, track.on_log, logs={"loss": 2.0})
    assert [(step, told.get("audio_seconds_per_second")) for step, told in written] == [(3, 4.0), (3, None), (4, 11.0)]
    memory = written[0][1].pop("peak_memory_gib")
    assert 0 < memory <= peak_memory_gib()["peak_memory_gib"]
    assert written[0][1].items() >= {"loss": 2.5, "learning_rate": 1e-4, "gradient_norm": 0.5}.items()
    assert written[1][1] == {"validation_loss": 2.0, "validation_wer": 0.25}
    assert "gpu_use_percent" not in written[0][1]


@pytest.mark.parametrize(("used", "told"), [((80.0, 90.0), {"gpu_use_percent": 85.0}), ((80.0, None), {})])
def test_use_is_that_of_all_gpus_or_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, used: tuple[float | None, ...], told: dict[str, float]
):
    gpus = [SimpleNamespace(use_percent=lambda percent=percent: percent) for percent in used]
    monkeypatch.setattr(tracking, "find_gpus", lambda: gpus)
    written: list[dict[str, float]] = []
    track = Track([1.0], 1, SimpleNamespace(write=lambda _, figures: written.append(figures)))
    arguments, state, control = TrainingArguments(output_dir=str(tmp_path)), TrainerState(global_step=1), TrainerControl()
    track.on_train_begin(arguments, TrainerState(global_step=0), control)
    track.on_step_end(arguments, state, control)
    track.on_log(arguments, state, control, logs={"loss": 1.0})
    assert {name: figure for name, figure in written[0].items() if name == "gpu_use_percent"} == told
