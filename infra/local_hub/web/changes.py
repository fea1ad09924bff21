"""Changing what is in a repository: preupload, commit, branches, tags, squash."""

import tempfile
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from infra.local_hub.blobs import Blobs, goes_to_lfs
from infra.local_hub.commits import apply_draft, read_draft
from infra.local_hub.fields import whole
from infra.local_hub.git_patterns import is_ignored
from infra.local_hub.history import Commit, History
from infra.local_hub.lines import LONGEST_LINE_BYTES
from infra.local_hub.paths import checked_path
from infra.local_hub.refusal import Refusal, unknown_revision
from infra.local_hub.repositories import Repository
from infra.local_hub.web.call import Call
from infra.local_hub.web.routing import Router
from infra.local_hub.webhooks import RefChange
from infra.storage import disk_errors

router = Router()
_IN_MEMORY_BYTES = 1 << 20


def contributable(call: Call, kind: str, owner: str, name: str, revision: str | None) -> Repository:
    """The repository, if the caller may write to it, or to that one pull request, or open one (`create_pr`)."""
    if _proposes(call):
        call.writer()
        return call.history(kind, owner, name).repository
    if revision and revision.startswith("refs/pr/"):
        repository = call.readable(kind, owner, name)
        num = whole(revision.removeprefix("refs/pr/"))
        if num is None or call.hub.history(repository).reference(revision) is None:
            raise unknown_revision(revision)
        if call.hub.discussions(repository).author(num) == call.writer().name:
            return repository
    return call.writable(kind, owner, name)


@router.add("POST", "/api/{kind}/{owner}/{name}/preupload/{revision}")
def preupload(call: Call, kind: str, owner: str, name: str, revision: str) -> dict[str, Any]:
    """How each file is to be sent, what is there already, and what .gitignore leaves out."""
    repository = contributable(call, kind, owner, name, revision)
    history = call.hub.history(repository)
    commit = history.commit(revision)
    trees, contents = history.trees(), Blobs(call.hub.store, repository.id)
    attributes = contents.text(trees, commit.tree, ".gitattributes") or ""
    ignore = call.fields.text("gitIgnore") or contents.text(trees, commit.tree, ".gitignore") or ""
    answers = []
    for described in call.fields.objects("files"):
        path, size = checked_path(described.text("path")), described.number("size") or 0
        answer: dict[str, Any] = {
            "path": described.text("path"),
            "uploadMode": "lfs" if goes_to_lfs(path, size, attributes) else "regular",
            "shouldIgnore": is_ignored(path, ignore),
        }
        entry = trees.find(commit.tree, path)
        if entry and not entry.is_folder:
            answer["oid"] = contents.get([entry.oid])[entry.oid].etag
        answers.append(answer)
    return {"files": answers, "commitOid": commit.oid}


@router.add("POST", "/api/{kind}/{owner}/{name}/commit/{revision}", streams=True)
async def commit(call: Call, request: Request, kind: str, owner: str, name: str, revision: str) -> Response:
    """Apply a commit to a branch, or open a pull request with it."""
    repository = await call.in_thread(contributable, call, kind, owner, name, revision)
    uploads = call.hub.store.folder / "uploads"
    with disk_errors(uploads), tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES, dir=str(uploads)) as spool:
        line_bytes = 0
        async for chunk in request.stream():
            end = chunk.rfind(b"\n")
            line_bytes = line_bytes + len(chunk) if end < 0 else len(chunk) - end
            if line_bytes > LONGEST_LINE_BYTES:
                raise Refusal(
                    413, f"A line of the commit has more than {LONGEST_LINE_BYTES} bytes: send files of 10 MB or more by LFS"
                )
            spool.write(chunk)
        spool.seek(0)
        return await call.in_thread(_commit, call, repository, revision, spool)


def _commit(call: Call, repository: Repository, revision: str, lines: Any) -> Response:
    history, viewer = call.hub.history(repository), call.user()
    with call.hub.store.transaction() as database:
        branch = history.branch(revision)
        head = history.by_oid(branch.oid)
        draft = read_draft(database, call.hub.store, history, lines, head)
        made = apply_draft(database, history, draft, viewer, head)
        target = branch.name
        answer: dict[str, Any] = {"success": True, "hookOutput": ""}
        if _proposes(call):
            discussions = call.hub.discussions(repository)
            num = discussions.open(database, viewer, draft.title, draft.message, pull=True, base=revision)
            target = f"refs/pr/{num}"
            answer["pullRequestUrl"] = f"{call.base_url}/{repository.address}/discussions/{num}"
            call.hub.webhooks.tell(database, repository, "create", "discussion", call.base_url)
        if made.oid != head.oid:
            history.point(database, target, made.oid)
            if target.startswith("refs/pr/"):
                call.hub.discussions(repository).note_commit(database, target, viewer, made)
            _tell(call, database, history, target, None if _proposes(call) else head.oid, made)
        call.hub.large_files.note_use(database, repository, draft.large_files, target)
        if call.hub.accounts.may_write(viewer, repository.owner):
            call.hub.large_files.adopt(database, repository, draft.large_files)
    answer |= {"commitOid": made.oid, "commitUrl": f"{call.base_url}/{repository.address}/commit/{made.oid}"}
    return JSONResponse(answer)


@router.add("GET", "/api/{kind}/{owner}/{name}/refs")
def references(call: Call, kind: str, owner: str, name: str) -> dict[str, Any]:
    """Branches, tags, and pull requests if asked for."""
    from infra.local_hub.describe import references_item

    history = call.hub.history(call.readable(kind, owner, name))
    return references_item(history, call.query.get("include_prs", call.query.get("include_pull_requests", "")) in ("1", "true"))


@router.add("POST", "/api/{kind}/{owner}/{name}/branch/{branch}")
def add_branch(call: Call, kind: str, owner: str, name: str, branch: str) -> Response:
    """Make a branch."""
    history = call.hub.history(call.writable(kind, owner, name))
    with call.hub.store.transaction() as database:
        made = history.add_reference(database, "heads", branch, call.fields.text("startingPoint", "main"))
        call.hub.webhooks.tell(
            database, history.repository, "update", "repo.content", call.base_url, [(made.name, None, made.oid)]
        )
    return Response(status_code=200)


@router.add("DELETE", "/api/{kind}/{owner}/{name}/branch/{branch}")
def remove_branch(call: Call, kind: str, owner: str, name: str, branch: str) -> Response:
    """Delete a branch."""
    return _remove(call, call.writable(kind, owner, name), "heads", branch)


@router.add("POST", "/api/{kind}/{owner}/{name}/tag/{revision}")
def add_tag(call: Call, kind: str, owner: str, name: str, revision: str) -> Response:
    """Make a tag."""
    history = call.hub.history(call.writable(kind, owner, name))
    with call.hub.store.transaction() as database:
        history.commit(revision)
        made = history.add_reference(database, "tags", call.fields.text("tag"), revision)
        call.hub.webhooks.tell(
            database, history.repository, "update", "repo.content", call.base_url, [(made.name, None, made.oid)]
        )
    return Response(status_code=200)


@router.add("DELETE", "/api/{kind}/{owner}/{name}/tag/{tag}")
def remove_tag(call: Call, kind: str, owner: str, name: str, tag: str) -> Response:
    """Delete a tag."""
    return _remove(call, call.writable(kind, owner, name), "tags", tag)


@router.add("POST", "/api/{kind}/{owner}/{name}/super-squash/{revision}")
def squash(call: Call, kind: str, owner: str, name: str, revision: str) -> Response:
    """Replace the history of a branch by one commit."""
    history, viewer = call.hub.history(call.writable(kind, owner, name)), call.user()
    with call.hub.store.transaction() as database:
        branch = history.branch(revision)
        head = history.by_oid(branch.oid)
        title = call.fields.text("message", f"Super-squash branch '{revision}' using huggingface_hub")
        made = history.add_commit(database, viewer, head.tree, None, title, "")
        history.point(database, branch.name, made.oid)
        _tell(call, database, history, branch.name, head.oid, made)
    return Response(status_code=200)


def _remove(call: Call, repository: Repository, kind: str, reference: str) -> Response:
    history = call.hub.history(repository)
    with call.hub.store.transaction() as database:
        gone = history.remove_reference(database, kind, reference)
        call.hub.webhooks.tell(database, repository, "update", "repo.content", call.base_url, [(gone.name, gone.oid, None)])
    return Response(status_code=200)


def _tell(call: Call, database: Any, history: History, reference: str, before: str | None, made: Commit) -> None:
    if history.repository.kind == "space" and reference == "refs/heads/main":
        call.hub.spaces.noticed_commit(database, history.repository)
    changes: list[RefChange] = [(reference, before, made.oid)]
    call.hub.webhooks.tell(database, history.repository, "update", "repo.content", call.base_url, changes)


def _proposes(call: Call) -> bool:
    return call.query.get("create_pr", "").lower() in ("1", "true")
