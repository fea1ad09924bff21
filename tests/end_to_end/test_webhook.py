"""What a Hub delivers becomes an event once, and what nobody should have sent becomes nothing."""

import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr
from starlette.testclient import TestClient

from deployments.webhook import SECRET_HEADER, create_app
from infra.errors import SettingsError
from infra.settings import Settings, Watched
from tasks.events import Happened, announce, dataset_updated

SECRET = "a-long-secret"
WATCHED = "Anna/Radio"


@pytest.fixture
def hook(server: str) -> Iterator[TestClient]:
    settings = Settings(watch=(Watched(repository=WATCHED),), webhook_secret=SecretStr(SECRET))
    with temporary_settings({PREFECT_API_URL: server}), TestClient(create_app(settings)) as client:
        client.headers[SECRET_HEADER] = SECRET
        yield client


def delivery(sha: str, name: str = "anna/radio", **changed: Any) -> dict[str, Any]:
    """As huggingface.co sends it."""
    return {
        "event": {"action": "update", "scope": "repo.content"},
        "repo": {"type": "dataset", "name": name, "id": "1", "private": True, "headSha": sha},
        "webhook": {"id": "2", "version": 3},
        "updatedRefs": [{"ref": "refs/heads/main", "oldSha": "0" * 40, "newSha": sha}],
    } | changed


def events_of(sha: str, count: int = 0) -> list[dict[str, Any]]:
    """What the server lists, once it lists so many."""
    wanted = {"filter": {"event": {"name": [str(Happened.DATASET_UPDATED)]}}}
    deadline = time.monotonic() + 30
    with get_client(sync_client=True) as client:
        while True:
            listed = client.request("POST", "/events/filter", json=wanted).json()["events"]
            found = [event for event in listed if event["payload"]["revision"] == sha]
            if len(found) >= count or time.monotonic() > deadline:
                return found
            time.sleep(0.1)


def test_new_content_of_a_watched_dataset_is_told_once(hook: TestClient):
    sha = "1" * 40
    first, second = hook.post("/", json=delivery(sha)), hook.post("/", json=delivery(sha))
    assert (first.status_code, first.json()) == (202, {"event": f"{WATCHED}@{sha}", "new": True})
    assert (second.status_code, second.json()["new"]) == (202, False)
    (event,) = events_of(sha, 1)
    assert event["resource"]["prefect.resource.id"] == f"huggingface.dataset.{WATCHED}"
    assert event["payload"] == {"repository": WATCHED, "name": "Radio", "revision": sha}


def test_a_poll_that_sees_the_same_tells_it_not_again(hook: TestClient):
    sha = "2" * 40
    assert dataset_updated(WATCHED, sha)
    assert hook.post("/", json=delivery(sha)).json()["new"] is False
    assert len(events_of(sha, 1)) == 1


def test_what_another_process_told_is_not_told_again(hook: TestClient, monkeypatch: pytest.MonkeyPatch):
    sha = "6" * 40
    assert dataset_updated(WATCHED, sha)
    monkeypatch.setattr("tasks.events._told", deque())
    assert events_of(sha, 1)
    assert not dataset_updated(WATCHED, sha)


@pytest.mark.parametrize(
    "changed",
    [
        {"updatedRefs": [{"ref": "refs/heads/draft", "newSha": "3" * 40}]},
        {"updatedRefs": [{"ref": "refs/heads/main", "newSha": None}]},
        {"updatedRefs": []},
        {"event": {"action": "create", "scope": "repo"}},
        {"event": {"action": "update", "scope": "repo.config"}},
        {"repo": {"type": "model", "name": "anna/radio"}},
    ],
)
def test_what_is_no_new_content_of_main_is_no_event(hook: TestClient, changed: dict[str, Any]):
    answer = hook.post("/", json=delivery("3" * 40, **changed))
    assert (answer.status_code, answer.json()) == (202, {"event": None})
    assert not events_of("3" * 40)


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{}", {SECRET_HEADER: "wrong"}, 401),
        (b"{}", {SECRET_HEADER: ""}, 401),
        (b"{}", {SECRET_HEADER: f"{SECRET}x"}, 401),
        (b"x" * 300_000, {}, 413),
        (b"{}", {}, 400),
        (b"[1]", {}, 400),
        (b"no json", {}, 400),
        (b"\xff\xfe", {}, 400),
    ],
)
def test_forged_oversize_and_broken_deliveries_are_refused(
    hook: TestClient, content: bytes, headers: dict[str, str], status: int
):
    answer = hook.post("/", content=content, headers=headers)
    assert answer.status_code == status
    assert SECRET not in answer.text


def test_a_dataset_that_is_not_watched_starts_nothing(hook: TestClient):
    answer = hook.post("/", json=delivery("4" * 40, name="mallory/radio"))
    assert (answer.status_code, events_of("4" * 40)) == (403, [])


def test_a_delivery_while_the_server_is_gone_is_to_be_sent_again():
    settings = Settings(watch=(Watched(repository=WATCHED),), webhook_secret=SecretStr(SECRET))
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), TestClient(create_app(settings)) as client:
        assert client.post("/", json=delivery("5" * 40), headers={SECRET_HEADER: SECRET}).status_code == 503


def test_without_a_secret_nobody_listens():
    with pytest.raises(SettingsError, match="VOXFACTORY_WEBHOOK_SECRET"):
        create_app(Settings())


def test_events_without_an_identity_are_told_each_time(server: str):
    with temporary_settings({PREFECT_API_URL: server}):
        assert announce(Happened.SPACE_DEPLOYED, "voxfactory.space.x", "x", {})
        assert announce(Happened.SPACE_DEPLOYED, "voxfactory.space.x", "x", {})
