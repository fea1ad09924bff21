"""The whole factory by its command: speech in, a proven demo out; then again, from the cache."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.stages import finished_stages
from tests.builders.speech import digit_corpus, radio_corpus
from tests.end_to_end.conftest import Command

OPTIONS = ("--language", "en", "--name", "radio", "--method", "full", "--epochs", 4, "--batch-size", 8, "--learning-rate", 7e-4)
COMPUTED_BY_EVERY_RUN = {"read source", "resolve base model", "gate"}


@pytest.fixture(scope="module")
def first(workplace: Path, voxfactory: Command) -> "subprocess.CompletedProcess[str]":
    radio_corpus(workplace / "source", clips=100)
    radio_corpus(workplace / "guard", clips=30, seed=4)
    return voxfactory("run", workplace / "source", *OPTIONS, "--guard", workplace / "guard")


def stages_of_last_run(server: str) -> dict[str, str]:
    """How each stage of the newest factory run was done."""
    with temporary_settings({PREFECT_API_URL: server}):
        with get_client(sync_client=True) as client:
            runs: list[FlowRun] = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=50)
            newest = next(run for run in runs if run.parent_task_run_id is None)
        return {name: how for name, how, _ in finished_stages(newest.id)}


def test_speech_becomes_a_better_model_with_a_proven_demo(
    first: "subprocess.CompletedProcess[str]", workplace: Path, server: str
):
    assert first.returncode == 0, first.stderr[-3000:]
    assert "Gate: publish" in first.stdout
    assert "proven on 3 of 3 clips" in first.stdout
    (repository,) = (workplace / "home" / "published").glob("*/repository")
    assert (repository / "model.safetensors").is_file()
    rates = json.loads((repository / "eval_results.json").read_text())["scores"]
    assert rates[0]["wer_tuned"]["value"] < rates[0]["wer_base"]["value"]
    assert [score["set_name"] for score in rates] == ["radio", "guard"]
    assert "from the cache" not in stages_of_last_run(server).values()


def test_the_same_speech_at_another_path_is_taken_from_the_cache(
    first: "subprocess.CompletedProcess[str]", workplace: Path, voxfactory: Command, server: str
):
    shutil.copytree(workplace / "source", workplace / "elsewhere")
    again = voxfactory("run", workplace / "elsewhere", *OPTIONS, "--guard", workplace / "guard")
    assert again.returncode == 0, again.stderr[-3000:]
    stages = stages_of_last_run(server)
    assert {name for name, how in stages.items() if how != "from the cache"} == COMPUTED_BY_EVERY_RUN
    assert {"ingest", "train", "compare", "stage", "deploy demo"} <= stages.keys()
    tables = [output[output.index("Word error") :] for output in (first.stdout, again.stdout)]
    assert tables[0] == tables[1]


def test_an_artefact_that_was_deleted_is_made_again(
    first: "subprocess.CompletedProcess[str]", workplace: Path, voxfactory: Command, server: str
):
    (repository,) = (workplace / "home" / "published").glob("*/repository")
    shutil.rmtree(repository.parent)
    again = voxfactory("run", workplace / "source", *OPTIONS, "--guard", workplace / "guard")
    assert again.returncode == 0, again.stderr[-3000:]
    assert (repository / "README.md").is_file()
    stages = stages_of_last_run(server)
    assert (stages["stage"], stages["train"]) == ("computed", "from the cache")


def test_one_changed_byte_of_speech_is_new_data(
    first: "subprocess.CompletedProcess[str]", workplace: Path, voxfactory: Command, server: str
):
    changed = shutil.copytree(workplace / "source", workplace / "changed")
    clip = sorted(changed.glob("*.wav"))[0]
    content = bytearray(clip.read_bytes())
    content[len(content) // 2] ^= 64
    clip.write_bytes(content)
    done = voxfactory("ingest", changed, "--language", "en", "--name", "radio")
    assert done.returncode == 0, done.stderr[-3000:]
    assert stages_of_last_run(server)["ingest"] == "computed"
    assert len(list((workplace / "home" / "datasets").glob("*/dataset.json"))) == 3


def test_a_model_that_is_not_better_is_kept_and_not_published(workplace: Path, voxfactory: Command):
    digit_corpus(workplace / "known", language="en", clips=24)
    home = workplace / "refused-home"
    spoiled = (*OPTIONS[4:6], "--epochs", 1, "--batch-size", 4, "--learning-rate", 0.5)
    done = voxfactory("run", workplace / "known", "--language", "en", *spoiled, home=home)
    assert done.returncode == 3, done.stderr[-3000:]
    assert "Gate: do not publish" in done.stdout
    assert list((home / "runs").glob("*/best-model/model.safetensors"))
    assert not list((home / "published").glob("*/*"))
