"""Discussions and pull requests over HTTP. Clients name models with and without `models/`."""

from typing import Any

from infra.local_hub.fields import whole
from infra.local_hub.refusal import Refusal, bad_request
from infra.local_hub.web.call import Call
from infra.local_hub.web.routing import Router
from infra.local_hub.webhooks import RefChange

router = Router()
_PAGE = 50


def _both(methods: str, pattern: str) -> Any:
    """Serve /api/{kind}/ID/... and /api/ID/..., which is a model."""

    def register(handler: Any) -> Any:
        router.add(methods, f"/api/{{kind}}/{{owner}}/{{name}}/{pattern}")(handler)
        router.add(methods, f"/api/{{owner}}/{{name}}/{pattern}", kind="model")(handler)
        return handler

    return register


@_both("GET", "discussions")
def discussions(call: Call, kind: str, owner: str, name: str) -> dict[str, Any]:
    """A page of discussions."""
    repository = call.readable(kind, owner, name)
    query = call.query
    found = call.hub.discussions(repository).listed(query.get("author"), query.get("type"), query.get("status"))
    start = _PAGE * (whole(query.get("p")) or 0)
    return {"discussions": found[start : start + _PAGE], "count": len(found), "start": start, "numClosedDiscussions": 0}


@_both("POST", "discussions")
def begin(call: Call, kind: str, owner: str, name: str) -> dict[str, Any]:
    """Open a discussion or a pull request."""
    repository, viewer, fields = call.readable(kind, owner, name), call.writer(), call.fields
    title, text, pull = fields.text("title"), fields.text("description"), fields.flag("pullRequest") or False
    with call.hub.store.transaction() as database:
        num = call.hub.discussions(repository).open(database, viewer, title, text, pull)
        call.hub.webhooks.tell(database, repository, "create", "discussion", call.base_url)
    return {"num": num, "pullRequest": pull, "url": f"{call.base_url}/{repository.address}/discussions/{num}"}


@_both("GET", "discussions/{num}")
def details(call: Call, kind: str, owner: str, name: str, num: str) -> dict[str, Any]:
    """Everything of one discussion; of a pull request that is content, which a gated repository does not show to everybody."""
    repository = call.readable(kind, owner, name)
    described = call.hub.discussions(repository).details(_num(num))
    if described["isPullRequest"]:
        call.hub.repositories.check_content(call.viewer, repository)
    return described


@_both("POST", "discussions/{num}/comment")
def comment(call: Call, kind: str, owner: str, name: str, num: str) -> dict[str, Any]:
    """Add a comment."""
    repository, viewer = call.readable(kind, owner, name), call.writer()
    text = call.fields.text("comment")
    if not text:
        raise bad_request("The comment is empty")
    with call.hub.store.transaction() as database:
        call.hub.webhooks.tell(database, repository, "create", "discussion.comment", call.base_url)
        return {"newMessage": call.hub.discussions(repository).comment(database, _num(num), viewer, text)}


@_both("POST", "discussions/{num}/comment/{identity}/{action}")
def change_comment(call: Call, kind: str, owner: str, name: str, num: str, identity: str, action: str) -> dict[str, Any]:
    """Edit or hide the caller's comment."""
    repository, viewer = call.readable(kind, owner, name), call.writer()
    if action not in ("edit", "hide"):
        raise Refusal(404, f"A comment cannot be {action}")
    text = call.fields.text("content") if action == "edit" else None
    with call.hub.store.transaction() as database:
        return {"updatedComment": call.hub.discussions(repository).edit_comment(database, _num(num), identity, viewer, text)}


@_both("POST", "discussions/{num}/title")
def rename(call: Call, kind: str, owner: str, name: str, num: str) -> dict[str, Any]:
    """Change the title."""
    found = call.hub.discussions(_moderated(call, kind, owner, name, num))
    title = call.fields.text("title").strip()
    if not title:
        raise bad_request("The title is empty")
    with call.hub.store.transaction() as database:
        return {"newTitle": found.rename(database, _num(num), call.writer(), title)}


@_both("POST", "discussions/{num}/status")
def status(call: Call, kind: str, owner: str, name: str, num: str) -> dict[str, Any]:
    """Open or close."""
    found, fields = call.hub.discussions(_moderated(call, kind, owner, name, num)), call.fields
    wanted, text = fields.text("status"), fields.text("comment")
    with call.hub.store.transaction() as database:
        return {"newStatus": found.set_status(database, _num(num), call.writer(), wanted, text)}


@_both("POST", "discussions/{num}/merge")
def merge(call: Call, kind: str, owner: str, name: str, num: str) -> dict[str, Any]:
    """Merge a pull request."""
    repository, viewer = call.writable(kind, owner, name), call.user()
    with call.hub.store.transaction() as database:
        before, made = call.hub.discussions(repository).merge(database, _num(num), viewer, call.fields.text("comment"))
        if repository.kind == "space" and before.name == "refs/heads/main":
            call.hub.spaces.noticed_commit(database, repository)
        call.hub.large_files.adopt(database, repository, call.hub.large_files_of(repository, made))
        changes: list[RefChange] = [(before.name, before.oid, made.oid)]
        call.hub.webhooks.tell(database, repository, "update", "repo.content", call.base_url, changes)
    return {"success": True, "commitOid": made.oid}


def _moderated(call: Call, kind: str, owner: str, name: str, num: str) -> Any:
    """The repository, for whoever may write to it or began the discussion."""
    repository = call.readable(kind, owner, name)
    if call.hub.discussions(repository).author(_num(num)) == call.writer().name:
        return repository
    return call.writable(kind, owner, name)


def _num(text: str) -> int:
    number = whole(text)
    if number is None:
        raise Refusal(404, f"Discussion not found: {text[:50]}")
    return number
