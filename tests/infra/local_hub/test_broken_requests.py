"""No request makes the Hub itself fail: every route answers whatever it is sent, and never with a server's error.

A server's error would be asked for again and again by the clients, and would hide what was wrong.
"""

import json
from collections.abc import Iterator
from itertools import chain

import httpx
import pytest

from infra.local_hub.web.application import Application
from tests.builders.hubs import Workplace, written

pytestmark = pytest.mark.fast

_SERVERS_ERROR = 500
_BODIES = [
    *(b"", b"null", b"[]", b"5", b'"x"', b"{", b"\xff\xfe", b"NaN", b'{"name": "\\ud800"}', b"paths=%FF&paths=\xff"),
    *(b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b'{"size": ' + b"9" * 5000 + b"}"),
]
_KEYS = """
    name organization type visibility private sdk hardware sleepTimeSeconds secrets variables volumes fromRepo toRepo gated files tag
    content status key value flavor seconds requestId user item namespace note position theme url watched domains secret repoType token
    startingPoint message paths expand objects operation ref hash_algo transfers oid size parts deletions title description comment
    pullRequest gitIgnore
""".split()
_VALUES: list[object] = [
    *(5, -1, 10**30, 1e999, True, "", "\ud800", "\x00\r\n", "x" * 5000),
    *([], [5], [[]], [{}], {}, {"name": []}, {"id": 5, "type": "model"}),
]
_WHOLE: dict[str, dict[str, object]] = {
    "create": {
        "name": "made",
        "type": "space",
        "sdk": "static",
        "variables": [{"key": "A", "value": "b"}],
        "volumes": [],
        "hardware": "cpu",
    },
    "move": {"fromRepo": "anna/whole", "toRepo": "anna/whole", "type": "model"},
    "settings": {"visibility": "public", "gated": False},
    "preupload": {"files": [{"path": "a", "size": 1, "sample": ""}], "gitIgnore": "*.x"},
    "batch": {"operation": "upload", "transfers": ["basic"], "objects": [{"oid": "0" * 64, "size": 5}], "ref": {"name": "main"}},
    "lfs-files": {"deletions": {"sha": ["0" * 64]}},
    "verify": {"oid": "0" * 64, "size": 5},
    "paths-info": {"paths": ["README.md"], "expand": True},
    "branch": {"startingPoint": "main"},
    "tag": {"tag": "v1", "message": "x"},
    "discussions": {"title": "t", "description": "d", "pullRequest": True, "comment": "c", "content": "c", "status": "open"},
    "spaces": {"key": "A", "value": "b", "description": "d", "seconds": 5, "flavor": "cpu", "volumes": []},
    "webhooks": {"url": "http://127.0.0.1:9/", "watched": [{"type": "user", "name": "anna"}], "domains": ["repo"], "secret": "s"},
    "collections": {
        "title": "t",
        "description": "d",
        "private": True,
        "item": {"type": "model", "id": "anna/whole"},
        "note": "n",
        "position": 0,
    },
    "access": {"user": "bert", "status": "accepted", "requestId": None},
    "yaml": {"content": "---\na: b\n---\n", "repoType": "model"},
    "complete": {"parts": [{"partNumber": 1, "etag": "e"}]},
}


def _paths(hub: Workplace) -> Iterator[tuple[str, str]]:
    """Method and path of every route that takes a body, on repositories of anna."""
    filled = {
        "kind": "models", "owner": "anna", "name": "whole", "revision": "main", "num": "1", "branch": "b", "tag": "t", "status": "pending",
        "action": "grant", "values": "secrets", "identity": "0" * 24, "slug": "x", "repository": "0" * 24, "sha256": "0" * 64, "size": "5",
        "part": "0", "rest*": "main", "user": "anna",
    }  # fmt: skip
    for route in Application(hub.hub)._router._routes:
        if route.method in ("POST", "PUT", "PATCH", "DELETE") and "delete" not in route.parts:
            yield route.method, "/" + "/".join(filled[part[1:-1]] if part.startswith("{") else part for part in route.parts)
    for action in ("variables", "hardware", "sleeptime", "restart", "secrets"):
        yield "POST", f"/api/spaces/anna/whole/{action}"
    yield "POST", f"/api/collections/{hub.api().create_collection(title='all').slug}/items"


@pytest.fixture(scope="module")
def whole(hub: Workplace) -> Workplace:
    """A Hub with a model, a dataset and a Space named anna/whole, and a pull request."""
    for kind in ("model", "dataset", "space"):
        hub.create("whole", kind)
    hub.commit("anna/whole", written("README.md")).raise_for_status()
    hub.api().create_pull_request("anna/whole", title="first")
    hub.api().update_repo_settings("anna/whole", gated="manual")
    return hub


def _failing(client: httpx.Client, method: str, path: str, body: bytes) -> Iterator[str]:
    for kind in (
        ("application/json", "application/x-www-form-urlencoded")
        if path.endswith(("paths-info/main", "sign-in"))
        else ("application/json",)
    ):
        try:
            status = client.request(method, path, content=body, headers={"Content-Type": kind}).status_code
        except httpx.RemoteProtocolError:
            status = 599
        if status >= _SERVERS_ERROR:
            yield f"{status} {method} {path} {body[:120]!r}"


def test_no_body_makes_the_hub_fail(whole: Workplace):
    failures = [
        failure for method, path in _paths(whole) for body in _BODIES for failure in _failing(whole.http(), method, path, body)
    ]
    assert not failures, "\n".join(failures)


def test_no_value_of_another_type_makes_the_hub_fail(whole: Workplace):
    paths = list(_paths(whole))
    failures = []
    for value in _VALUES:
        body = json.dumps(dict.fromkeys(_KEYS, value)).encode()
        failures += list(chain.from_iterable(_failing(whole.http(), method, path, body) for method, path in paths))
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("room", _WHOLE)
def test_no_single_wrong_field_makes_the_hub_fail(whole: Workplace, room: str):
    paths = [(method, path) for method, path in _paths(whole) if room in path]
    assert paths, "the room has lost its routes"
    failures = []
    for key in _WHOLE[room]:
        for value in _VALUES:
            body = json.dumps(_WHOLE[room] | {key: value}).encode()
            failures += list(chain.from_iterable(_failing(whole.http(), method, path, body) for method, path in paths))
    assert not failures, "\n".join(failures)


def test_what_strangers_left_behind_hurts_nobody(hub: Workplace):
    """What was accepted from one user must not make the requests of others fail."""
    strange: list[object] = [5, True, "x", [5], [[]], {"name": []}, None]
    stranger, watched = hub.http("bert"), [{"type": "user", "name": "anna"}]
    for value in strange:
        hook = {"url": "http://127.0.0.1:9/", "watched": watched, "domains": ["repo"], "secret": "s"}
        for key in hook:
            stranger.post("/api/settings/webhooks", json=hook | {key: value})
        stranger.post("/api/settings/webhooks", json=hook | {"watched": [{"type": value, "name": value}]})
        stranger.post("/api/collections", json={"title": "t", "description": value, "private": False, "item": value})
    repository = hub.new()
    hub.commit(repository, written("a.txt")).raise_for_status()
    hub.api().create_tag(repository, tag="v1")
    hub.api().create_discussion(repository, title="a discussion")
    for path in ("/api/collections", "/api/models?full=true", "/", f"/{repository}"):
        assert hub.http().get(path).status_code == 200
