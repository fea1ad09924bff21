"""What time can heal is tried again by Prefect, and what is wrong is not: real processes that are killed, a Hub that is away."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil
import pytest
import soundfile
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_LOCAL_STORAGE_PATH,
    PREFECT_LOGGING_TO_API_ENABLED,
    PREFECT_RESULTS_DEFAULT_SERIALIZER,
    PREFECT_TASKS_DEFAULT_NO_CACHE,
    temporary_settings,
)

from deployments.stages import finished_stages
from flows.ingest import ingest
from flows.params import Source, Training
from flows.space import deploy_space
from flows.train import train
from infra.errors import DatasetError
from infra.settings import settings
from tasks.contracts import Checkpoint, DatasetVersion, Form, Method, StagedModel
from tasks.dataset.ingest import IngestOptions
from tasks.training.options import TrainingOptions
from tasks.voxtral.tasks import resolve_checkpoint
from tests.builders.faulty_door import Fault, faulty_door
from tests.builders.hubs import clients_for, served_hub
from tests.builders.publications import hurry
from tests.builders.reports import report, score
from tests.builders.speech import voice


@pytest.fixture(autouse=True)
def prefect(server: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Flows of this process run against the server, and nobody waits long before another attempt."""
    changed = {
        PREFECT_API_URL: server,
        PREFECT_LOCAL_STORAGE_PATH: str(home),
        PREFECT_TASKS_DEFAULT_NO_CACHE: True,
        PREFECT_RESULTS_DEFAULT_SERIALIZER: "json",
        PREFECT_LOGGING_TO_API_ENABLED: False,
    }
    hurry(monkeypatch)
    with temporary_settings(changed):
        yield


@contextmanager
def killed_once(command: str) -> Iterator[list[str]]:
    """Kill -9 the first child of this process that has this in its command line; yields what was killed."""
    killed: list[str] = []
    ended = Event()

    def kill() -> None:
        while not killed and not ended.wait(0.01):
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    line = " ".join(child.cmdline())
                    if command in line and not killed:
                        child.kill()
                        killed.append(line)

    watcher = Thread(target=kill)
    watcher.start()
    try:
        yield killed
    finally:
        ended.set()
        watcher.join()


def attempts(state: State[Any]) -> dict[str, int]:
    """How often the server saw each task of a flow run begin."""
    run = state.state_details.flow_run_id
    assert run is not None
    finished_stages(run)
    with get_client(sync_client=True) as client:
        tasks = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run])))
    return {task.name.rpartition("-")[0]: task.run_count for task in tasks}


def a_source(folder: Path, clips: int) -> Source:
    """Real speech, each piece with a text of its own."""
    folder.mkdir()
    for number in range(clips):
        soundfile.write(folder / f"{number}.wav", voice(number, 0.3), 16_000)
        (folder / f"{number}.txt").write_text(f"number {number}")
    return Source(path=folder, options=IngestOptions(language="en"))


def test_a_killed_training_process_is_started_again(digits: DatasetVersion):
    options = TrainingOptions(method=Method.LORA, epochs=1, batch_size=4, max_steps=1)
    with killed_once("tasks.training.process") as killed:
        state = train(digits, Training(options=options), [], return_state=True)
    assert killed
    assert state.result().steps == 1
    assert attempts(state) == {"resolve base model": 1, "train": 2}


def test_a_killed_worker_of_ingestion_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VOXFACTORY_PROCESSES", "2")
    settings.cache_clear()
    with killed_once("popen_loky") as killed:
        state = ingest(a_source(tmp_path / "source", clips=130), return_state=True)
    assert killed
    version = state.result()
    assert (version.train_utterances + version.eval_utterances, version.rejected) == (130, 0)
    assert attempts(state) == {"read source": 1, "ingest": 2}


def test_a_source_that_cannot_be_used_is_not_tried_again(tmp_path: Path):
    state = ingest(a_source(tmp_path / "source", clips=1), return_state=True)
    with pytest.raises(DatasetError, match="cannot be divided"):
        state.result()
    assert attempts(state) == {"read source": 1, "ingest": 1}


def test_a_demo_that_is_killed_while_it_starts_is_started_again(tiny: Checkpoint):
    made = report(score("german", 1, 0))
    staged = StagedModel(
        folder=tiny.folder, name="anna/german", form=Form.FULL, public=False, card=Path("c"), content_hash="0", report=made
    )
    with killed_once("app.py") as killed:
        state = deploy_space(staged, return_state=True)
    assert killed
    assert (state.result().folder / "app.py").is_file()
    assert attempts(state) == {"deploy demo": 2}


def test_a_hub_that_cannot_answer_is_asked_again(tmp_path: Path, tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    asking = "GET /api/models/anna/away/revision/main"

    @flow(name="find")
    def find() -> Checkpoint:
        return resolve_checkpoint("anna/away", None)

    with (
        served_hub(tmp_path / "hub") as hub,
        # the seed with which the door turns away the first of these requests, and no other
        faulty_door(hub.url, seed=3, share=0.5, faults=[Fault.UNAVAILABLE], only=asking) as door,
        clients_for(door.url),
    ):
        hub.api().create_repo("anna/away")
        made = hub.api().upload_folder(repo_id="anna/away", folder_path=tiny.folder)
        monkeypatch.setenv("VOXFACTORY_HUB_ENDPOINT", door.url)
        monkeypatch.setenv("VOXFACTORY_HUB_TOKEN", hub.tokens["anna"])
        settings.cache_clear()
        state = find(return_state=True)
        assert [passage.fault for passage in door.passages if passage.path in asking] == [Fault.UNAVAILABLE, None]
    assert state.result().revision == made.oid
    assert attempts(state) == {"resolve base model": 2}
