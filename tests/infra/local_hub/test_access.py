"""A private repository of others cannot be told from one that was never made, whatever is asked of it."""

import hashlib
import json
from collections.abc import Iterator
from itertools import product
from urllib.parse import quote

import httpx
import pytest

from infra.local_hub.web.application import Application
from infra.local_hub.web.routing import KIND_FOLDERS
from tests.builders.hubs import Workplace, written

pytestmark = pytest.mark.fast

_TELLING = ("content-type", "x-error-code", "x-error-message", "content-length", "x-repo-commit", "etag", "link")
_FILLED = {
    "revision": "main", "path*": "README.md", "rest*": "main/README.md", "num": "1", "branch": "dev", "tag": "v1", "status": "pending",
    "right": "write", "which": "run", "values": "secrets", "identity": "a" * 24, "action": "grant",
}  # fmt: skip


def _addresses(hub: Workplace, kind: str, owner: str, name: str) -> Iterator[tuple[str, str]]:
    """Method and path of every route that names a repository, filled in."""
    for route in Application(hub.hub)._router._routes:
        if not {"{owner}", "{name}"} <= set(route.parts) or dict(route.fixed).get("kind", kind) != kind:
            continue
        folder = next(folder for folder, name in KIND_FOLDERS.items() if name == kind)
        values = _FILLED | {"kind": folder, "owner": owner, "name": name}
        yield route.method, "/" + "/".join(values[part[1:-1]] if part.startswith("{") else part for part in route.parts)


def _seen(client: httpx.Client, method: str, path: str, name: str, accept: str) -> tuple[object, ...]:
    body = b"" if method in ("GET", "HEAD") else json.dumps({"files": [], "operation": "upload", "objects": []}).encode()
    answer = client.request(method, path, content=body, headers={"Accept": accept})
    said = {key: answer.headers.get(key, "").replace(name, "NAME") for key in _TELLING}
    return answer.status_code, said, answer.text.replace(name, "NAME")


@pytest.mark.parametrize(("kind", "viewer"), list(product(("model", "dataset", "space"), ("bert", "bert-read", None))))
def test_a_private_repository_of_others_is_like_one_that_was_never_made(hub: Workplace, kind: str, viewer: str | None):
    name, never = f"hidden-{kind}-{viewer}", f"absent-{kind}-{viewer}"
    path = hub.create(name, kind, private=True)
    hub.commit(path if kind == "model" else f"{kind}s/{path}", written("README.md", "# words")).raise_for_status()
    hub.api("anna").create_discussion(path, title="a discussion", repo_type=kind)
    hub.api("anna").create_tag(path, tag="v1", repo_type=kind)
    client, asked = hub.http(viewer), 0
    addresses = zip(_addresses(hub, kind, "anna", name), _addresses(hub, kind, "anna", never), strict=True)
    for (method, private), (_, absent) in addresses:
        for accept in ("*/*", "text/html"):
            hidden, nothing = _seen(client, method, private, name, accept), _seen(client, method, absent, never, accept)
            assert hidden == nothing, f"{method} {private} tells that it is there"
            asked += hidden[0] in (401, 404)
    assert asked > 80, "the walk over the routes must ask all of them"


def test_what_is_private_is_in_no_list_of_a_stranger(hub: Workplace):
    secret = hub.create("unlisted", private=True)
    hub.http("anna").post(f"/api/models/{secret}/like").raise_for_status()
    everywhere = (
        "/api/models?full=true",
        "/",
        "/api/users/anna/likes",
        "/api/users/anna/overview",
        "/api/models?search=unlisted",
    )
    for viewer, path in product(("bert", None), everywhere):
        assert "unlisted" not in hub.http(viewer).get(path).text
    assert (
        hub.http(None).get("/api/users/anna/overview").json()["numModels"]
        < hub.http("anna").get("/api/users/anna/overview").json()["numModels"]
    )
    assert "unlisted" in hub.http("anna").get("/api/models").text


def test_a_public_collection_does_not_name_what_is_private(hub: Workplace):
    secret, public = hub.create("collected-secret", private=True), hub.create("collected")
    collection = hub.api().create_collection(title="both")
    for item in (secret, public):
        hub.api().add_collection_item(collection.slug, item_id=item, item_type="model")
    assert [item.item_id for item in hub.api().get_collection(collection.slug).items] == [secret, public]
    assert [item.item_id for item in hub.api("bert").get_collection(collection.slug).items] == [public]


def test_a_token_that_reads_reads_what_is_private_and_writes_nothing(hub: Workplace):
    path = hub.create("diary", private=True)
    hub.commit(path, written("a.txt", "mine")).raise_for_status()
    reader = hub.http("anna-read")
    assert reader.get(f"/{path}/resolve/main/a.txt").text == "mine"
    refused = 0
    for method, address in _addresses(hub, "model", "anna", "diary"):
        if method in ("POST", "PUT", "DELETE", "PATCH") and not address.endswith(("paths-info/main", "/verify", "/ask-access")):
            answer = reader.request(method, address, json={"files": [], "operation": "upload", "objects": []})
            assert answer.status_code in (403, 404), f"{method} {address}: {answer.status_code}"
            refused += answer.status_code == 403
    assert refused > 15
    for method, address, body in (
        ("POST", "/api/repos/create", {"name": "new"}),
        ("DELETE", "/api/repos/delete", {"name": "diary"}),
        ("POST", "/api/repos/move", {"fromRepo": path, "toRepo": "anna/elsewhere", "type": "model"}),
        ("POST", "/api/settings/webhooks", {"url": "http://127.0.0.1/", "watched": [{"type": "user", "name": "anna"}]}),
        ("POST", "/api/collections", {"title": "mine"}),
    ):
        assert reader.request(method, address, json=body).status_code == 403, address
    assert hub.commit(path, written("a.txt", "others'"), user="anna-read").status_code == 403
    assert [commit.title for commit in hub.api().list_repo_commits(path)] == ["a commit", "initial commit"]


@pytest.mark.parametrize("shown", ["Bearer hf_unknown", "Bearer", "bearer hf_é"])
def test_an_unknown_token_is_refused_even_for_what_is_public(hub: Workplace, shown: str):
    path = hub.create(f"public-{len(shown)}")
    answer = httpx.get(f"{hub.url}/api/models/{path}", headers={b"Authorization": shown.encode()}, trust_env=False)
    assert (answer.status_code, answer.headers["x-error-message"]) == (401, "Invalid credentials in Authorization header")


@pytest.mark.parametrize("hours", [1e-9, 0.0, -1.0])
def test_a_token_is_good_for_its_time_and_no_longer(hub: Workplace, hours: float):
    token = hub.hub.accounts.add_token("anna", hours=hours)
    answer = httpx.get(f"{hub.url}/api/whoami-v2", headers={"Authorization": f"Bearer {token}"}, trust_env=False)
    assert answer.status_code == 401


def test_a_removed_token_is_nobodys(hub: Workplace):
    token = hub.hub.accounts.add_token("anna", hours=1)
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"{hub.url}/api/whoami-v2", headers=headers, trust_env=False).json()["name"] == "anna"
    hub.hub.accounts.remove_token(token)
    assert httpx.get(f"{hub.url}/api/whoami-v2", headers=headers, trust_env=False).status_code == 401


def test_only_hashes_of_tokens_are_kept(hub: Workplace):
    kept = b"".join(path.read_bytes() for path in hub.hub.store.folder.glob("hub.sqlite3*"))
    for token in hub.tokens.values():
        assert hashlib.sha256(token.encode()).hexdigest().encode() in kept
        assert token.encode() not in kept


def test_an_id_without_an_owner_names_no_repository(hub: Workplace):
    for path in ("/api/models/bare", "/api/datasets/bare/refs", f"/bare/resolve/main/{quote('a b.txt')}"):
        assert hub.http("anna").get(path).headers["x-error-code"] == "RepoNotFound"
