"""Publishing over a bad network: complete or not at all, never twice, and what may heal is told as that."""

from itertools import count
from pathlib import Path

import pytest
from pydantic import SecretStr

from infra.errors import HubUnreachable
from infra.hub import HubConnection, connection
from infra.settings import Settings
from tasks.contracts import RepositoryKind
from tasks.publishing.repository import Repository
from tasks.publishing.upload import promote, upload, withdraw
from tests.builders.faulty_door import Fault, faulty_door
from tests.builders.hubs import Workplace
from tests.builders.publications import Made, connected, held, make_folder, publish_folder, titles

pytestmark = [pytest.mark.fast, pytest.mark.usefixtures("hurried")]
REFUSING = (Fault.UNAVAILABLE, Fault.TOO_MANY, Fault.RESET_REQUEST, Fault.TIME_OUT)  # the Hub does nothing
QUICK = {"retry_after_s": 0, "timeout_s": 0.02, "slow_s": 0.02}
ASKED = (  # everything that a publication asks of a Hub
    "POST /api/repos/create",
    "GET /api/models/anna/[a-z0-9-]+$",
    "GET .*/tree/",
    "(HEAD|GET) .*/publication.json",
    "GET .*/refs",
    "POST .*/branch/",
    "POST /api/validate-yaml",
    "POST .*/preupload/",
    "POST .*/objects/batch",
    "PUT /api/lfs/",
    "POST .*/commit/publication-",
    "POST .*/commit/main",
    "GET .*/commits/",
    "DELETE .*/branch/",
    "POST .*/tag/",
)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make_folder(tmp_path / "first", 1, large_bytes=20_000)


@pytest.fixture
def other(tmp_path: Path) -> Made:
    return make_folder(tmp_path / "other", 2, large_bytes=20_000)


def assert_published_once(hub: Workplace, name: str, *contents: Made) -> None:
    """Main holds the last content, each was put there by one commit, has one tag, and nothing else is left."""
    assert held(hub.api(), name) == contents[-1].files()
    assert titles(hub.api(), name) == [made.fingerprint for made in reversed(contents)]
    references = hub.api().list_repo_refs(name)
    assert [branch.name for branch in references.branches] == ["main"]
    assert sorted(tag.name[-12:] for tag in references.tags) == sorted(made.fingerprint for made in contents)
    for tag in references.tags:
        (of_tag,) = [made for made in contents if tag.name.endswith(made.fingerprint)]
        assert held(hub.api(), name, tag.target_commit) == of_tag.files()


def publish(hub: HubConnection, made: Made, name: str) -> None:
    publish_folder(hub, made, name, title=made.fingerprint)


@pytest.mark.parametrize("place", ASKED)
def test_whatever_fails_for_good_is_told_as_unreachable_and_the_next_attempt_goes_on(
    hub: Workplace, made: Made, other: Made, place: str
):
    name = hub.new(private=True)
    publish(connected(hub), made, name)
    with faulty_door(hub.url, seed=1, share=1.0, faults=REFUSING, only=place, **QUICK) as door:
        with pytest.raises(HubUnreachable):
            publish(connected(hub, url=door.url), other, name)
        assert door.done()
        assert held(hub.api(), name) in (made.files(), other.files())
        door.share = 0.0
        publish(connected(hub, url=door.url), other, name)
    assert_published_once(hub, name, made, other)


@pytest.mark.parametrize("seed", range(4))
def test_what_the_hub_did_although_its_answer_was_lost_is_not_done_twice(hub: Workplace, made: Made, other: Made, seed: int):
    name = hub.create(f"lost-{seed}", private=True)
    publish(connected(hub), made, name)
    lost = {"share": 0.5, "faults": [Fault.DROPPED_ANSWER], "only": "/repos/create|(POST|DELETE) .*/(branch|commit|tag)/|PUT "}
    with faulty_door(hub.url, seed=seed, **lost) as door:
        publish(connected(hub, url=door.url), other, name)
        assert sum(door.done().values()) > 1
    assert_published_once(hub, name, made, other)


@pytest.mark.parametrize("seed", range(12))
def test_with_three_requests_of_ten_failing_a_publication_is_complete_or_not_at_all(
    hub: Workplace, made: Made, other: Made, seed: int
):
    name, before = hub.create(f"bad-{seed}", private=True), made.files()
    publish(connected(hub), made, name)
    with faulty_door(hub.url, seed=seed, **QUICK) as door:
        connection = connected(hub, url=door.url)
        for attempt in count():
            assert attempt < 5, "it never gets through"
            try:
                publish(connection, other, name)
                break
            except HubUnreachable:
                assert held(hub.api(), name) in (before, other.files())
        assert sum(door.done().values()) > 3
    assert_published_once(hub, name, made, other)


@pytest.mark.parametrize("seed", range(4))
def test_with_three_requests_of_ten_failing_it_is_taken_back(hub: Workplace, made: Made, other: Made, seed: int):
    name = hub.create(f"back-{seed}", private=True)
    publish(connected(hub), made, name)
    with faulty_door(hub.url, seed=seed, **QUICK) as door:
        connection = connected(hub, url=door.url)
        sent = upload(connection, other.folder, name, RepositoryKind.MODEL, False, other.content)
        promote(connection, sent, other.folder, "Wrong")
        withdraw(connection, sent)
    assert held(hub.api(), name) == made.files()
    references = hub.api().list_repo_refs(name)
    assert [branch.name for branch in references.branches] == ["main"]
    assert [tag.name[-12:] for tag in references.tags] == [made.fingerprint]
    assert [title[:7] for title in titles(hub.api(), name)] == ["Restore", "Wrong", made.fingerprint[:7]]


def test_a_hub_that_asks_to_be_left_alone_is_left_alone(hub: Workplace, made: Made, monkeypatch: pytest.MonkeyPatch):
    """For as long as it says, whatever huggingface_hub or we would have waited."""
    waits: list[float] = []
    monkeypatch.setattr("tasks.publishing.repository.time.sleep", waits.append)
    with faulty_door(hub.url, seed=0, share=1.0, faults=[Fault.TOO_MANY], only="GET /api/models/", retry_after_s=7) as door:
        repository = Repository(connected(hub, url=door.url), hub.new(private=True), RepositoryKind.MODEL)
        with pytest.raises(HubUnreachable) as told:
            repository.look()
    assert told.value.retry_after_s == 7
    assert min(waits) >= 7


def test_a_hub_that_never_answers_and_never_hangs_up_ends_a_publication(hub: Workplace, made: Made, other: Made, home: Path):
    """Nothing is half there, and the next attempt goes on."""
    name = hub.new(private=True)
    publish(connected(hub), made, name)
    with faulty_door(hub.url, seed=0, share=1.0, faults=[Fault.SILENT], only="POST .*/commit/") as door:
        settings = Settings(home=home, hub_endpoint=door.url, hub_token=SecretStr(hub.tokens["anna"]), hub_timeout_s=0.05)
        with connection(settings) as silent, pytest.raises(HubUnreachable, match="did not answer"):
            publish(silent, other, name)
        assert door.done()[Fault.SILENT] > 1
    assert held(hub.api(), name) == made.files()
    publish(connected(hub), other, name)
    assert_published_once(hub, name, made, other)
