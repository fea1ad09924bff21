"""/api/repos, /api/models and alike: make, delete, move, describe, list."""

import sqlite3
from typing import Any

from starlette.responses import JSONResponse, Response

from infra.local_hub import cards
from infra.local_hub.describe import description, expansions, listing, selected
from infra.local_hub.fields import Fields
from infra.local_hub.refusal import Refusal, bad_request
from infra.local_hub.repositories import KINDS, Repository
from infra.local_hub.web.call import Call
from infra.local_hub.web.routing import Router

router = Router()


@router.add("GET", "/api/whoami-v2")
def whoami(call: Call) -> dict[str, Any]:
    """Whose token it is, and what it may do."""
    viewer = call.user()
    account = call.hub.accounts.named(viewer.name)
    return {
        "type": "user",
        "id": viewer.id,
        "name": viewer.name,
        "fullname": account["fullname"],
        "email": account["email"],
        "emailVerified": True,
        "canPay": False,
        "isPro": False,
        "periodEnd": None,
        "avatarUrl": "",
        "orgs": [
            {"type": "org", "id": org["id"], "name": org["name"], "fullname": org["fullname"], "roleInOrg": org["role"]}
            for org in call.hub.accounts.organisations(viewer)
        ],
        "auth": {
            "type": "access_token",
            "accessToken": {"displayName": viewer.token_label, "role": viewer.role, "createdAt": viewer.token_created},
        },
    }


@router.add("POST", "/api/repos/create")
def create(call: Call) -> dict[str, Any]:
    """Make a repository."""
    viewer, fields = call.writer(), call.fields
    kind, sdk = _kind(fields), fields.optional_text("sdk")
    owner, name = fields.optional_text("organization"), fields.text("name")
    if "/" in name and not owner:
        owner, _, name = name.partition("/")
    try:
        with call.hub.store.transaction() as database:
            made = call.hub.create(viewer, kind, owner, name, _visibility(fields), sdk, call.base_url)
            if kind == "space":
                _furnish(call, database, made)
    except Refusal as refusal:
        if "url" in refusal.fields:
            refusal.fields["url"] = f"{call.base_url}/{refusal.fields['url']}"
        raise
    return {"url": f"{call.base_url}/{made.address}", "name": made.path, "id": made.id}


@router.add("DELETE", "/api/repos/delete")
def delete(call: Call) -> Response:
    """Delete a repository and its content."""
    viewer, fields = call.user(), call.fields
    path = _path(fields.text("name"), fields.text("organization", viewer.name))
    repository = call.hub.repositories.writable(viewer, _kind(fields), path)
    with call.hub.store.transaction() as database:
        call.hub.webhooks.tell(database, repository, "delete", "repo", call.base_url)
        call.hub.repositories.delete(repository)
    call.hub.store.sweep()
    return Response(status_code=200)


@router.add("POST", "/api/repos/move")
def move(call: Call) -> dict[str, Any]:
    """Give a repository another name."""
    source, target = call.fields.text("fromRepo"), call.fields.text("toRepo")
    if source.count("/") != 1 or target.count("/") != 1:
        raise bad_request("fromRepo and toRepo are owner/name")
    repository = call.hub.repositories.writable(call.viewer, _kind(call.fields), source)
    with call.hub.store.transaction() as database:
        moved = call.hub.repositories.move(call.viewer, repository, target)
        call.hub.webhooks.tell(database, moved, "move", "repo", call.base_url)
    return {"url": f"{call.base_url}/{moved.address}"}


@router.add("PUT", "/api/{kind}/{owner}/{name}/settings")
def settings(call: Call, kind: str, owner: str, name: str) -> dict[str, Any]:
    """Set who sees a repository."""
    repository, fields = call.writable(kind, owner, name), call.fields
    gated = "" if fields.is_false("gated") else fields.optional_text("gated")
    with call.hub.store.transaction() as database:
        changed = call.hub.repositories.change(repository, _visibility(fields), gated)
        call.hub.webhooks.tell(database, changed, "update", "repo.config", call.base_url)
    return {"private": changed.private, "visibility": changed.visibility, "gated": changed.gated or False}


@router.add("GET", "/api/{kind}/{owner}/{name}", "/api/{kind}/{owner}/{name}/revision/{revision}")
def info(call: Call, kind: str, owner: str, name: str, revision: str = "main") -> dict[str, Any]:
    """Describe a repository at a revision."""
    repository = call.readable(kind, owner, name)
    commit = call.hub.history(repository).commit(revision)
    blobs = call.query.get("blobs", "").lower() == "true"
    return selected(description(call.hub, repository, call.base_url, commit, blobs), kind, expansions(call.query))


@router.add("GET", "/api/{kind}")
def repositories(call: Call, kind: str) -> Response:
    """List repositories."""
    return call.page(listing(call.hub, call.viewer, kind, call.query, call.base_url))


@router.add("GET", "/api/{kind}/{owner}/{name}/auth-check", "/api/{kind}/{owner}/{name}/auth-check/{right}")
def auth_check(call: Call, kind: str, owner: str, name: str, right: str = "read") -> Response:
    """Whether the caller may read or write the content."""
    if right == "write":
        call.writable(kind, owner, name)
    call.history(kind, owner, name)
    return Response(status_code=200)


@router.add("POST", "/api/validate-yaml")
def validate_yaml(call: Call) -> Response:
    """What is wrong with a card's metadata."""
    errors, warnings = cards.validate(call.fields.text("content"), call.fields.text("repoType", "model"))
    shown = {"errors": [{"message": text} for text in errors], "warnings": [{"message": text} for text in warnings]}
    return JSONResponse(shown | ({"error": "; ".join(errors)} if errors else {}), 400 if errors else 200)


@router.add("GET POST PUT DELETE HEAD", "/api/{kind}/{owner}/{name}/{rest*}", "/api/{kind}/{rest*}")
@router.add("GET HEAD", "/{rest}/resolve/{revision}/{path*}")
def nowhere(call: Call, kind: str = "model", owner: str = "", name: str = "", **_: str) -> Response:
    """A repository that is not there, an id without an owner, or something that no repository has."""
    call.readable(kind, owner, name)
    raise Refusal(404, f"Not found: {call.path[:200]}")


def _kind(fields: Fields) -> str:
    kind = fields.text("type", "model")
    if kind not in KINDS:
        raise bad_request(f"There are no repositories of type {kind[:50]!r}; there are {', '.join(KINDS)}")
    return kind


def _visibility(fields: Fields) -> str | None:
    """`visibility`, or what older clients say instead: `private`."""
    private = fields.flag("private")
    return fields.optional_text("visibility") or (None if private is None else "private" if private else "public")


def _furnish(call: Call, database: sqlite3.Connection, space: Repository) -> None:
    """Give a new Space what it was ordered with."""
    fields, spaces = call.fields, call.hub.spaces
    for values, kind in ((fields.objects("variables"), "variable"), (fields.objects("secrets"), "secret")):
        for value in values:
            spaces.set_value(database, space, kind, value)
    volumes = [volume.plain() for volume in fields.objects("volumes")]
    hardware, sleep_s = fields.optional_text("hardware"), fields.number("sleepTimeSeconds")
    spaces.change_runtime(database, space, volumes=volumes, hardware=hardware, sleep_s=sleep_s)


def _path(name: str, owner: str) -> str:
    return name if "/" in name else f"{owner}/{name}"
