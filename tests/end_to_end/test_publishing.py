"""The flows that publish, against a real Prefect server and a Hub: proven and complete, or taken back."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_LOCAL_STORAGE_PATH,
    PREFECT_LOGGING_TO_API_ENABLED,
    PREFECT_RESULTS_DEFAULT_SERIALIZER,
    PREFECT_TASKS_DEFAULT_NO_CACHE,
    temporary_settings,
)

from flows.publish import publish
from flows.publish_dataset import publish_dataset
from infra.errors import HubError, HubUnreachable, PublishingError
from infra.settings import settings
from tasks.contracts import DatasetVersion, EvaluationReport, Form, RepositoryKind
from tasks.dataset.export import DatasetPublication
from tasks.publishing.stage import Publication, stage_address
from tests.builders.faulty_door import Fault, faulty_door
from tests.builders.hubs import Workplace, clients_for, served_hub, written
from tests.builders.publications import connected, held, hurry, make_folder, publish_folder, titles


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    with served_hub(tmp_path_factory.mktemp("hub")) as served:
        served.hub.accounts.create("lab", kind="org")
        served.hub.accounts.join("lab", "anna", "write")
        yield served


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long before another attempt."""
    hurry(monkeypatch)


@pytest.fixture(autouse=True)
def prefect(server: str, home: Path, hub: Workplace, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Flows of this process run against the server, as anna of the Hub."""
    at(hub.url, hub, monkeypatch)
    changed = {
        PREFECT_API_URL: server,
        PREFECT_LOCAL_STORAGE_PATH: str(home),
        PREFECT_TASKS_DEFAULT_NO_CACHE: True,
        PREFECT_RESULTS_DEFAULT_SERIALIZER: "json",
        PREFECT_LOGGING_TO_API_ENABLED: False,
    }
    with temporary_settings(changed):
        yield


def at(url: str, hub: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the settings name this address of the Hub."""
    monkeypatch.setenv("VOXFACTORY_HUB_ENDPOINT", url)
    monkeypatch.setenv("VOXFACTORY_HUB_TOKEN", hub.tokens["anna"])
    monkeypatch.setenv("VOXFACTORY_HUB_READ_TOKEN", hub.tokens["anna-read"])
    settings.cache_clear()


def references(hub: Workplace, name: str, kind: str = "model") -> tuple[list[str], list[str]]:
    """Names of branches and tags."""
    found = hub.api().list_repo_refs(name, repo_type=kind)
    return [branch.name for branch in found.branches], [tag.name for tag in found.tags]


def heard_otherwise(report: EvaluationReport) -> EvaluationReport:
    """An evaluation that heard something else: what is published cannot be what it measured."""
    examples = tuple(example.model_copy(update={"tuned": "something else"}) for example in report.examples)
    return report.model_copy(update={"examples": examples})


def test_an_adapter_is_published_with_its_base_and_the_same_again_does_nothing(hub: Workplace, lora_report: EvaluationReport):
    terms = Publication(name="first-adapter")
    (published,) = publish(lora_report, terms)
    assert (published.staged.name, published.place.public, published.place.new) == ("anna/first-adapter", False, True)
    assert [proof.answered for proof in published.proofs] == [clip.tuned for clip in lora_report.known_clips(3)]
    files = {path.name: path.read_bytes() for path in published.staged.folder.iterdir()}
    assert held(hub.api(), "anna/first-adapter") == files
    assert len(titles(hub.api(), "anna/first-adapter")) == 1
    assert references(hub, "anna/first-adapter") == (["main"], [published.place.tag])
    assert hub.api().model_info("anna/voxfactory-tiny").private
    assert references(hub, "anna/voxfactory-tiny")[0] == ["main"]
    assert len(references(hub, "anna/voxfactory-tiny")[1]) == 1
    (again,) = publish(lora_report, terms)
    assert again.place == published.place.model_copy(update={"new": False})
    assert len(titles(hub.api(), "anna/first-adapter")) == len(titles(hub.api(), "anna/voxfactory-tiny")) == 1


def test_a_model_that_does_not_hear_what_was_measured_is_taken_back(
    hub: Workplace, full_report: EvaluationReport, tmp_path: Path
):
    before = make_folder(tmp_path / "before", 1)
    first = publish_folder(connected(hub), before, "anna/wrong", "Before")
    with pytest.raises(PublishingError, match=r"evaluation heard 'something else'") as told:
        publish(heard_otherwise(full_report), Publication(name="wrong", licence="cc-by-4.0"))
    command = f"voxfactory publish {full_report.folder} --name wrong --licence cc-by-4.0 --anyway."
    assert f"Everything is kept. Later: {command}" in str(told.value)
    assert held(hub.api(), "anna/wrong") == before.files()
    assert titles(hub.api(), "anna/wrong") == ["Before"]
    assert references(hub, "anna/wrong") == (["main"], [first.tag])


def test_the_base_of_an_adapter_that_is_wrong_is_taken_back_with_it(hub: Workplace, lora_report: EvaluationReport):
    with pytest.raises(PublishingError, match=r"evaluation heard 'something else'"):
        publish(heard_otherwise(lora_report), Publication(name="lab/wrong-adapter"))
    for name in ("lab/wrong-adapter", "lab/voxfactory-tiny"):
        assert held(hub.api(), name) == {}
        assert references(hub, name) == (["main"], [])


@pytest.mark.usefixtures("hurried")
def test_what_cannot_be_taken_back_is_told(hub: Workplace, full_report: EvaluationReport, monkeypatch: pytest.MonkeyPatch):
    with (
        faulty_door(hub.url, seed=0, share=1.0, faults=[Fault.UNAVAILABLE], only="DELETE .*/branch/") as door,
        clients_for(door.url),
    ):
        at(door.url, hub, monkeypatch)
        with pytest.raises(PublishingError, match=r"could not be taken back: anna/stuck may show .*tidying anna/stuck"):
            publish(heard_otherwise(full_report), Publication(name="stuck"))
    assert held(hub.api(), "anna/stuck") == {}


def test_a_card_leads_to_the_dataset_where_that_is_published(hub: Workplace, full_report: EvaluationReport):
    """By its commit; a public card says nothing of a private dataset."""
    data = publish_dataset(full_report.dataset, DatasetPublication(name="known-data")).place
    (published,) = publish(full_report, Publication(name="with-data"))
    card = hub.api().model_info("anna/with-data").card_data
    assert card.datasets == ["anna/known-data"]
    assert {result.dataset_revision for result in card.eval_results} == {data.revision}
    public = Publication(name="anna/public", public=True)
    with pytest.raises(PublishingError, match="consent"):
        publish(full_report, public)
    assert stage_address(full_report, public, Form.FULL, data) == stage_address(full_report, public, Form.FULL)
    assert "known-data" in published.staged.card.read_text()


def test_one_form_is_not_published_without_the_other(hub: Workplace, lora_report: EvaluationReport):
    hub.create("both-merged", private=True)
    hub.commit("anna/both-merged", written("thesis.pdf")).raise_for_status()
    with pytest.raises(HubError, match=r"both-merged holds files that were not published from here"):
        publish(lora_report, Publication(name="both", forms=(Form.ADAPTER, Form.MERGED)))
    assert held(hub.api(), "anna/both") == {}
    assert references(hub, "anna/both") == (["main"], [])


@pytest.mark.usefixtures("hurried")
def test_with_three_requests_of_ten_failing_a_model_is_published_once(
    hub: Workplace, full_report: EvaluationReport, monkeypatch: pytest.MonkeyPatch
):
    with faulty_door(hub.url, seed=4, retry_after_s=0, timeout_s=0.05, slow_s=0.05) as door, clients_for(door.url):
        at(door.url, hub, monkeypatch)
        (published,) = publish(full_report, Publication(name="far-away"))
        assert sum(door.done().values()) > 5
    files = {path.name: path.read_bytes() for path in published.staged.folder.iterdir()}
    assert held(hub.api(), "anna/far-away") == files
    assert len(titles(hub.api(), "anna/far-away")) == 1
    assert references(hub, "anna/far-away") == (["main"], [published.place.tag])


@pytest.mark.usefixtures("hurried")
def test_a_dataset_is_published_and_what_fails_after_main_moved_is_taken_back(
    hub: Workplace, digits: DatasetVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kind, name, terms = RepositoryKind.DATASET, "anna/digits", DatasetPublication(name="digits")
    before = make_folder(tmp_path / "before", 1)
    first = publish_folder(connected(hub), before, name, kind=kind)
    with faulty_door(hub.url, seed=0, share=1.0, faults=[Fault.UNAVAILABLE], only="POST .*/tag/") as door, clients_for(door.url):
        at(door.url, hub, monkeypatch)
        with pytest.raises(
            HubUnreachable, match=rf"tagging anna/digits.*Later: voxfactory publish {digits.folder} --name digits"
        ):
            publish_dataset(digits, terms)
        assert held(hub.api(), f"datasets/{name}") == before.files()
        assert references(hub, name, kind) == (["main"], [first.tag])
        assert hub.api().list_repo_commits(name, repo_type=kind)[0].title.startswith(f"Restore {first.revision[:12]}")
        door.share = 0.0
        published = publish_dataset(digits, terms)
        again = publish_dataset(digits, terms)
    assert again.place == published.place.model_copy(update={"new": False})
    assert references(hub, name, kind) == (["main"], sorted([first.tag, published.place.tag]))
    assert hub.api().dataset_info(name).sha == published.place.revision


def test_private_voices_are_not_published_by_one_yes(hub: Workplace, full_report: EvaluationReport, digits: DatasetVersion):
    for call in (
        lambda: publish(full_report, Publication(name="loud", public=True)),
        lambda: publish_dataset(digits, DatasetPublication(name="loud", public=True)),
    ):
        with pytest.raises(PublishingError, match=r"VOXFACTORY_PUBLISH_PRIVATE_VOICES=true.*--name loud.* --public"):
            call()
    assert not [model for model in hub.api().list_models(author="anna") if "loud" in model.id]
