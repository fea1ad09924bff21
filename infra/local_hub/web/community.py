"""Likes, access requests, collections, accounts over HTTP."""

import sqlite3
from typing import Any

from starlette.responses import JSONResponse, Response

from infra.local_hub.refusal import Refusal, bad_request
from infra.local_hub.repositories import KINDS, Repository
from infra.local_hub.web.call import Call
from infra.local_hub.web.routing import Router

router = Router()


@router.add("POST DELETE", "/api/{kind}/{owner}/{name}/like")
def like(call: Call, kind: str, owner: str, name: str) -> Response:
    """Like, or no longer."""
    repository = call.readable(kind, owner, name)
    with call.hub.store.transaction() as database:
        call.hub.community.like(database, repository, call.writer(), call.method == "POST")
    return Response(status_code=200)


@router.add("GET", "/api/{kind}/{owner}/{name}/likers")
def likers(call: Call, kind: str, owner: str, name: str) -> Response:
    """Who likes it."""
    rows = call.hub.community.likes(call.readable(kind, owner, name))
    return call.page([{"user": row["name"], "fullname": row["fullname"], "avatarUrl": "", "type": "user"} for row in rows])


@router.add("GET", "/api/users/{user}/likes")
def likes(call: Call, user: str) -> Response:
    """What someone likes, as far as the caller may know of it."""
    liked = []
    for identity, created in call.hub.community.liked(call.hub.accounts.named(user)["id"]):
        repository = call.hub.repositories.by_id(identity)
        if call.hub.repositories.shows(call.viewer, repository):
            liked.append({"createdAt": created, "repo": {"name": repository.path, "type": repository.kind}})
    return call.page(liked)


@router.add("GET", "/api/users/{user}/overview")
def overview(call: Call, user: str) -> dict[str, Any]:
    """Who someone is."""
    account = call.hub.accounts.named(user)
    counts = {
        f"num{kind.capitalize()}s": sum(
            repository.owner == account["id"] for repository in call.hub.repositories.visible(call.viewer, kind)
        )
        for kind in KINDS
    }
    return {"user": account["name"], "fullname": account["fullname"], "avatarUrl": "", "type": account["kind"]} | counts


@router.add("POST", "/api/{kind}/{owner}/{name}/ask-access", "/{owner}/{name}/ask-access")
def ask_access(call: Call, owner: str, name: str, kind: str = "model") -> Response:
    """Ask for a gated repository's files."""
    repository, viewer = call.readable(kind, owner, name), call.writer()
    if not repository.gated:
        raise bad_request("The repository is not gated")
    with call.hub.store.transaction() as database:
        status = "accepted" if repository.gated == "auto" else "pending"
        call.hub.community.ask_access(database, repository, viewer.id, status)
    return Response(status_code=200)


@router.add("GET", "/api/{kind}/{owner}/{name}/user-access-request/{status}")
def access_requests(call: Call, kind: str, owner: str, name: str, status: str) -> Response:
    """Who asked."""
    return call.page(call.hub.community.access_requests(_gated(call, kind, owner, name), status))


@router.add("POST", "/api/{kind}/{owner}/{name}/user-access-request/{action}")
def answer_access(call: Call, kind: str, owner: str, name: str, action: str) -> Response:
    """Grant access, or answer a request."""
    repository, fields, community = _gated(call, kind, owner, name), call.fields, call.hub.community
    if request := fields.text("requestId"):
        account = community.requester(repository, request)
    else:
        account = call.hub.accounts.named(fields.text("user"))["id"]
    status = "accepted" if action == "grant" else fields.text("status")
    if action not in ("grant", "handle") or status not in ("accepted", "pending", "rejected"):
        raise bad_request("An access request is granted, or handled to accepted, pending or rejected")
    if action == "handle" and not community.has_asked(repository, account):
        raise Refusal(404, "Access request not found")
    with call.hub.store.transaction() as database:
        community.ask_access(database, repository, account, status)
    return JSONResponse({})


@router.add("GET", "/api/collections")
def collections(call: Call) -> Response:
    """The collections that the caller may see."""
    rows = call.hub.store.read("SELECT * FROM collections ORDER BY updated DESC")
    owners = call.query.getlist("owner")
    items = [value.partition("/")[2] for value in call.query.getlist("item")]
    shown = [_collection(call, row) for row in rows if _visible(call, row)]
    found = [
        {key: value for key, value in collection.items() if key != "position"}
        for collection in shown
        if (not owners or collection["owner"]["name"] in owners)
        and (not items or any(item["id"] in items for item in collection["items"]))
    ]
    return call.page(found)


@router.add("POST", "/api/collections")
def create_collection(call: Call) -> dict[str, Any]:
    """Make one."""
    viewer, fields = call.writer(), call.fields
    owner = call.hub.accounts.named(fields.text("namespace", viewer.name))
    if not call.hub.accounts.may_write(viewer, owner["id"]):
        raise Refusal(403, "You may not make collections for this account")
    with call.hub.store.transaction() as database:
        slug = call.hub.community.create_collection(database, owner, fields)
        if "item" in fields:
            _add_item(call, database, slug, fields.inner("item").text("note"))
        return _collection(call, call.hub.community.collection(slug))


@router.add("GET", "/api/collections/{owner}/{slug}")
def collection(call: Call, owner: str, slug: str) -> dict[str, Any]:
    """One of them."""
    row = call.hub.community.collection(f"{owner}/{slug}")
    if not _visible(call, row):
        raise Refusal(404, "Collection not found")
    return _collection(call, row)


@router.add("PATCH", "/api/collections/{owner}/{slug}")
def change_collection(call: Call, owner: str, slug: str) -> dict[str, Any]:
    """Change its title and what else it says."""
    row = _own(call, f"{owner}/{slug}")
    with call.hub.store.transaction() as database:
        changed = call.hub.community.change_collection(database, row, _owner(call, row)["name"], call.fields)
        return {"success": True, "data": _collection(call, call.hub.community.collection(changed))}


@router.add("DELETE", "/api/collections/{owner}/{slug}")
def remove_collection(call: Call, owner: str, slug: str) -> Response:
    """Delete it."""
    row = _own(call, f"{owner}/{slug}")
    with call.hub.store.transaction() as database:
        call.hub.community.remove_collection(database, row)
    return Response(status_code=200)


@router.add("POST", "/api/collections/{owner}/{slug}/items")
def add_item(call: Call, owner: str, slug: str) -> dict[str, Any]:
    """List something in it."""
    row = _own(call, f"{owner}/{slug}")
    with call.hub.store.transaction() as database:
        _add_item(call, database, row["slug"], call.fields.text("note"))
    return _collection(call, row)


@router.add("PATCH DELETE", "/api/collections/{owner}/{slug}/items/{identity}")
def change_item(call: Call, owner: str, slug: str, identity: str) -> Response:
    """Change or remove what it lists."""
    row = _own(call, f"{owner}/{slug}")
    with call.hub.store.transaction() as database:
        if call.method == "DELETE":
            call.hub.community.remove_item(database, row["slug"], identity)
        else:
            call.hub.community.change_item(database, row["slug"], identity, call.fields)
    return JSONResponse({"success": True})


def _gated(call: Call, kind: str, owner: str, name: str) -> Repository:
    repository = call.writable(kind, owner, name)
    if not repository.gated:
        raise bad_request("The repository is not gated")
    return repository


def _add_item(call: Call, database: sqlite3.Connection, slug: str, note: str) -> None:
    item = call.fields.inner("item")
    kind, identity = item.text("type"), item.text("id")
    if kind in KINDS:
        call.hub.repositories.readable(call.viewer, kind, identity)
    elif kind == "collection":
        listed = call.hub.community.collection(identity)
        if not _visible(call, listed):
            raise Refusal(404, "Collection not found")
        identity = listed["slug"]
    call.hub.community.add_item(database, slug, kind, identity, note or None)


def _own(call: Call, slug: str) -> sqlite3.Row:
    row = call.hub.community.collection(slug)
    if not call.hub.accounts.may_write(call.writer(), row["owner"]):
        raise Refusal(404, "Collection not found")
    return row


def _visible(call: Call, row: sqlite3.Row) -> bool:
    return not row["private"] or call.hub.accounts.belongs(call.viewer, row["owner"])


def _owner(call: Call, row: sqlite3.Row) -> sqlite3.Row:
    return call.hub.store.read("SELECT * FROM accounts WHERE id = ?", [row["owner"]])[0]


def _collection(call: Call, row: sqlite3.Row) -> dict[str, Any]:
    owner = _owner(call, row)
    items = [_item(item, place) for place, item in enumerate(call.hub.community.items(row["slug"])) if _item_visible(call, item)]
    return {
        "slug": row["slug"],
        "title": row["title"],
        "description": row["description"],
        "owner": {"name": owner["name"], "fullname": owner["fullname"], "type": owner["kind"], "avatarUrl": "", "isPro": False},
        "items": items,
        "lastUpdated": row["updated"],
        "position": row["position"],
        "private": bool(row["private"]),
        "theme": row["theme"],
        "upvotes": 0,
    }


def _item_visible(call: Call, item: sqlite3.Row) -> bool:
    """Whether what a collection lists is there, and the caller may know of it."""
    if item["kind"] in KINDS:
        found = call.hub.repositories.named(item["kind"], item["item"])
        return found is not None and call.hub.repositories.shows(call.viewer, found)
    if item["kind"] == "collection":
        listed = call.hub.community.find_collection(item["item"])
        return listed is not None and _visible(call, listed)
    return True


def _item(item: sqlite3.Row, place: int) -> dict[str, Any]:
    shown: dict[str, Any] = {"_id": item["id"], "id": item["item"], "type": item["kind"], "position": place}
    if item["kind"] == "collection":
        shown["slug"] = item["item"]
    return shown | ({"note": {"text": item["note"], "html": ""}} if item["note"] else {})
