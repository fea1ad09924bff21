"""The whole factory by its command: speech in, a proven demo out; then again, from the cache."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.stages import finished_stages
from tests.builders.answers import answer_with
from tests.builders.factories import until
from tests.builders.hubs import Workplace, served_hub
from tests.builders.processes import environment
from tests.builders.speech import digit_corpus, radio_corpus
from tests.end_to_end.conftest import Command

OPTIONS = ("--language", "en", "--name", "radio", "--method", "full", "--epochs", 4, "--batch-size", 8, "--learning-rate", 7e-4)
COMPUTED_BY_EVERY_RUN = {
    "read source",
    "resolve base model",
    "gate",
    "check publication",
    "find published data",
    "find published",
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """A Hub elsewhere: an endpoint and a token, as of the public one."""
    with served_hub(tmp_path_factory.mktemp("hub") / "of-others") as served:
        yield served


@pytest.fixture(scope="module")
def account(hub: Workplace) -> dict[str, str]:
    """The variables of a user of that Hub."""
    return {
        "VOXFACTORY_HUB_ENDPOINT": hub.url,
        "VOXFACTORY_HUB_TOKEN": hub.tokens["anna"],
        "VOXFACTORY_HUB_READ_TOKEN": hub.tokens["anna-read"],
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
    }


@pytest.fixture(scope="module")
def command_lines() -> Iterator[set[str]]:
    """Every command line that any process had while the first run went on."""
    seen: set[str] = set()
    ended = Event()

    def watch() -> None:
        while not ended.wait(0.05):
            seen.update(" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))

    watcher = Thread(target=watch)
    watcher.start()
    yield seen
    ended.set()
    watcher.join()


@pytest.fixture(scope="module")
def first(
    workplace: Path, voxfactory: Command, account: dict[str, str], command_lines: set[str]
) -> "subprocess.CompletedProcess[str]":
    radio_corpus(workplace / "source", clips=100)
    radio_corpus(workplace / "guard", clips=30, seed=4)
    return voxfactory("run", workplace / "source", *OPTIONS, "--guard", workplace / "guard", variables=account)


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


def test_the_figures_of_its_training_grow_as_a_table_in_the_ui(
    first: "subprocess.CompletedProcess[str]", workplace: Path, server: str
):
    only = ArtifactFilter(key=ArtifactFilterKey(any_=["train-figures"]))
    with temporary_settings({PREFECT_API_URL: server}), get_client(sync_client=True) as client:
        (table,) = client.read_artifacts(artifact_filter=only)
    rows = json.loads(table.data) if isinstance(table.data, str) else table.data
    (run,) = (workplace / "home" / "runs").glob("*/train_results.json")
    assert rows[-1]["step"] == json.loads(run.read_text())["steps"], "it was not left as it began"
    assert rows[-1]["validation_wer"] < 1
    assert {"loss", "learning_rate", "gradient_norm", "audio_seconds_per_second", "peak_memory_gib"} <= rows[0].keys()


def test_two_models_are_compared_by_their_names(first: "subprocess.CompletedProcess[str]", workplace: Path, voxfactory: Command):
    """What evaluation transcribed is not transcribed again, and comes out the same."""
    (run,) = (workplace / "home" / "runs").glob("*/best-model")
    datasets = (workplace / "home" / "datasets").glob("*/dataset.json")
    (data,) = (path.parent for path in datasets if json.loads(path.read_text())["name"] == "radio")
    transcripts = sorted((workplace / "home" / "transcripts").glob("*"))
    done = voxfactory("compare", "voxfactory-tiny", run, data)
    assert done.returncode == 0, done.stderr[-3000:]
    page = Path(done.stdout.strip().splitlines()[-1])
    assert "<audio" in page.read_text(encoding="utf-8")
    scores = json.loads((page.parent / "duel.json").read_text())["scores"]
    (report,) = (workplace / "home" / "evaluations").glob("*/report.json")
    ours = json.loads(report.read_text())["scores"][0]
    assert scores[0]["wer_change"] == ours["wer_change"]
    assert sorted((workplace / "home" / "transcripts").glob("*")) == transcripts


def test_it_is_on_the_hub_in_private_under_a_tag(first: "subprocess.CompletedProcess[str]", hub: Workplace, workplace: Path):
    assert "anna/voxtral-fine-tuned on" in first.stdout
    assert "it heard 3 of 3 clips as evaluation did" in first.stdout
    described = hub.api().model_info("anna/voxtral-fine-tuned")
    assert described.private
    assert "automatic-speech-recognition" in described.tags
    references = hub.api().list_repo_refs("anna/voxtral-fine-tuned")
    assert [branch.name for branch in references.branches] == ["main"]
    assert [tag.target_commit for tag in references.tags] == [described.sha]
    (repository,) = (workplace / "home" / "published").glob("*/repository")
    published = {path.name for path in repository.iterdir()} | {".gitattributes"}
    assert {sibling.rfilename for sibling in described.siblings or ()} == published


def test_the_token_stands_in_nothing_that_a_run_writes_or_starts(
    first: "subprocess.CompletedProcess[str]",
    hub: Workplace,
    workplace: Path,
    server_home: Path,
    command_lines: set[str],
):
    assert len(command_lines) > 5, "the watcher saw nothing"
    for name in ("anna", "anna-read"):
        token = hub.tokens[name]
        assert token not in first.stdout + first.stderr
        assert not [line for line in command_lines if token in line]
        for folder in (workplace, server_home, hub.hub.store.folder):
            holding = [path for path in folder.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]
            assert not holding


def test_the_same_speech_at_another_path_is_taken_from_the_cache_but_for_what_was_deleted(
    first: "subprocess.CompletedProcess[str]",
    workplace: Path,
    voxfactory: Command,
    server: str,
    account: dict[str, str],
    hub: Workplace,
):
    shutil.copytree(workplace / "source", workplace / "elsewhere")
    (repository,) = (workplace / "home" / "published").glob("*/repository")
    shutil.rmtree(repository.parent)
    again = voxfactory("run", workplace / "elsewhere", *OPTIONS, "--guard", workplace / "guard", variables=account)
    assert again.returncode == 0, again.stderr[-3000:]
    stages = stages_of_last_run(server)
    assert {name for name, how in stages.items() if how != "from the cache"} >= COMPUTED_BY_EVERY_RUN | {"stage full"}
    assert {name for name, how in stages.items() if how == "from the cache"} >= {"ingest", "train", "compare"}
    tables = [output[output.index("Word error") : output.index("Gate:")] for output in (first.stdout, again.stdout)]
    assert tables[0] == tables[1]
    assert (repository / "README.md").is_file()
    assert len(hub.api().list_repo_commits("anna/voxtral-fine-tuned")) == 2, "the same content made another commit"


def test_a_person_who_is_asked_may_refuse_what_the_gate_lets_through(
    first: "subprocess.CompletedProcess[str]",
    workplace: Path,
    voxfactory: Command,
    server: str,
    hub: Workplace,
    account: dict[str, str],
):
    asked = ("run", workplace / "source", *OPTIONS, "--guard", workplace / "guard", "--approval", "--repository", "asked-for")
    with ThreadPoolExecutor(1) as aside, temporary_settings({PREFECT_API_URL: server}):
        running = aside.submit(voxfactory, *asked, variables=account)
        until(lambda: answer_with(answer="refuse", words="it is for nobody"), poll_s=0.2)
        done = running.result()
    assert done.returncode == 3, done.stderr[-3000:]
    assert "Gate: do not publish" in done.stdout
    assert "refused by a person: it is for nobody" in done.stdout
    assert not hub.api().repo_exists("anna/asked-for")


# What lies in the home when the command is killed, one after the other. In ingestion, training, evaluation and publication others are
# killed: test_retries.py, test_orchestration.py, tests/tasks/publishing/test_kills.py.
PLACES = ("transcripts/*/hypotheses.jsonl", "spaces/*/app.py")


def test_wherever_it_is_killed_the_next_attempt_goes_on_to_the_same_model(
    first: "subprocess.CompletedProcess[str]", workplace: Path, voxfactory: Command, server: str
):
    home = workplace / "killed-home"
    asked = ("run", workplace / "source", *OPTIONS, "--guard", workplace / "guard")
    for place in PLACES:
        assert not [*home.glob(place)], f"{place} is there before it was killed there"
        with subprocess.Popen(
            [sys.executable, "-m", "deployments.cli", *map(str, asked)],
            env=environment(home, server),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as killed:
            until(lambda place=place: [*home.glob(place)], poll_s=0.02)
            killed.kill()
    done = voxfactory(*asked, home=home)
    assert done.returncode == 0, done.stderr[-3000:]
    weights = [path.read_bytes() for path in workplace.glob("*/published/*/repository/model.safetensors")]
    assert len(weights) == 2
    assert weights[0] == weights[1]


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
    wanted = {"filter": {"resource": {"id": ["voxfactory.dataset.radio"]}}}
    with temporary_settings({PREFECT_API_URL: server}), get_client(sync_client=True) as client:
        told = until(lambda: client.request("POST", "/events/filter", json=wanted).json()["events"], 2)
    versions = [json.loads(path.read_text()) for path in (workplace / "home" / "datasets").glob("*/dataset.json")]
    ours = {version["fingerprint"] for version in versions if version["name"] == "radio"}
    assert {event["payload"]["revision"] for event in told} == ours


def test_a_model_that_is_not_better_is_kept_and_not_published(workplace: Path, voxfactory: Command):
    digit_corpus(workplace / "known", language="en", clips=24)
    home = workplace / "refused-home"
    spoiled = (*OPTIONS[4:6], "--epochs", 1, "--batch-size", 4, "--learning-rate", 0.5)
    done = voxfactory("run", workplace / "known", "--language", "en", *spoiled, home=home)
    assert done.returncode == 3, done.stderr[-3000:]
    assert "Gate: do not publish" in done.stdout
    assert list((home / "runs").glob("*/best-model/model.safetensors"))
    assert not list((home / "published").glob("*/*"))
