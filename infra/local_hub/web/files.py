"""Reading what is in a repository: trees, paths, commits, and the files themselves."""

import mimetypes
import re
from collections.abc import Generator
from typing import Any
from urllib.parse import quote

from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from infra.local_hub.blobs import Blob, Blobs
from infra.local_hub.describe import commit_item, tree_item
from infra.local_hub.history import Commit, History
from infra.local_hub.paths import composed
from infra.local_hub.refusal import Refusal, unknown_entry
from infra.local_hub.trees import Entry
from infra.local_hub.web.call import Call
from infra.local_hub.web.routing import Router

router = Router()
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
_SAFE = {"Content-Security-Policy": "default-src 'none'; sandbox", "X-Content-Type-Options": "nosniff"}


@router.add("GET", "/api/{kind}/{owner}/{name}/tree/{revision}/{path*}")
def tree(call: Call, kind: str, owner: str, name: str, revision: str, path: str) -> Response:
    """The files and folders below a path."""
    repository = call.readable(kind, owner, name)
    history = call.hub.history(repository)
    commit = history.commit(revision)
    trees = history.trees()
    folder = composed(path).strip("/")
    entry = trees.find(commit.tree, folder)
    if entry is None or not entry.is_folder:
        raise unknown_entry(f"{path} does not exist on {revision!r}", commit.oid)
    found = list(trees.walk(entry.oid, folder, into=_flag(call.query.get("recursive"))))
    items = _items(call, history, commit, found, _flag(call.query.get("expand")))
    return call.page(items, f"/api/{kind}s/{quote(owner)}/{quote(name)}/tree/{commit.oid}/{quote(folder, safe='')}")


@router.add("POST", "/api/{kind}/{owner}/{name}/paths-info/{revision}")
def paths_info(call: Call, kind: str, owner: str, name: str, revision: str) -> Response:
    """What lies under some paths; those that are not there are left out."""
    if call.headers.get("content-type", "").startswith("application/json"):
        paths, expand = call.fields.texts("paths"), call.fields.flag("expand") or False
    else:
        form = call.form()
        paths, expand = form.get("paths", []), _flag(form.get("expand", [""])[0])
    history = call.hub.history(call.readable(kind, owner, name))
    commit = history.commit(revision)
    trees = history.trees()
    asked = dict.fromkeys(composed(path).strip("/") for path in paths)
    found = [(path, entry) for path in asked if path and (entry := trees.find(commit.tree, path))]
    return JSONResponse(_items(call, history, commit, found, expand))


@router.add("GET", "/api/{kind}/{owner}/{name}/commits/{revision}")
def commits(call: Call, kind: str, owner: str, name: str, revision: str) -> Response:
    """The history of a revision, the newest first."""
    history = call.hub.history(call.readable(kind, owner, name))
    formatted = "formatted" in [*call.query.getlist("expand[]"), *call.query.getlist("expand")]
    return call.page([commit_item(commit, formatted) for commit in history.log(history.commit(revision))])


@router.add_files("GET HEAD", "{owner}/{name}/resolve/{revision}/{path*}")
def resolve(call: Call, kind: str, owner: str, name: str, revision: str, path: str) -> Response:
    """A file, or a range of it."""
    history = call.history(kind, owner, name)
    commit = history.commit(revision)
    entry = history.trees().find(commit.tree, path)
    if entry is None or entry.is_folder or not path:
        raise unknown_entry("Entry not found", commit.oid)
    contents = Blobs(call.hub.store, history.repository.id)
    blob = contents.get([entry.oid])[entry.oid]
    filename = path.rpartition("/")[2]
    headers = _SAFE | {
        "X-Repo-Commit": commit.oid,
        "ETag": f'"{blob.etag}"',
        "Accept-Ranges": "bytes",
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(filename)}",
        "Content-Type": mimetypes.guess_type(filename)[0] or "application/octet-stream",
    }
    if blob.lfs:
        headers |= {"X-Linked-Etag": f'"{blob.etag}"', "X-Linked-Size": str(blob.size)}
    start, end, status = _range(call.headers.get("range"), blob)
    if status == 206:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{blob.size}"
    headers["Content-Length"] = str(end - start)
    if call.method == "HEAD":
        return Response(status_code=status, headers=headers)
    return _Stream(contents.read(blob, start, end), status, headers)


class _Stream(StreamingResponse):
    """Lets go of the file also when the client goes away in the middle."""

    def __init__(self, blocks: Generator[bytes, None, None], status: int, headers: dict[str, str]) -> None:
        super().__init__(blocks, status, headers)
        self._blocks = blocks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._blocks.close()


def _range(header: str | None, blob: Blob) -> tuple[int, int, int]:
    """Start, end (not included) and status; what is no one range of a file is answered by the whole file, as HTTP allows."""
    match = _RANGE.fullmatch(header or "")
    if not match or not any(match.groups()):
        return 0, blob.size, 200
    first, last = match.groups()
    start = int(first) if first else max(0, blob.size - int(last))
    end = min(int(last) + 1, blob.size) if first and last else blob.size
    if start >= end:
        raise Refusal(416, "The range lies behind the end of the file", None, {"Content-Range": f"bytes */{blob.size}"})
    return start, end, 206


def _items(call: Call, history: History, commit: Commit, found: list[tuple[str, Entry]], expand: bool) -> list[dict[str, Any]]:
    blobs = Blobs(call.hub.store, history.repository.id).get([entry.oid for _, entry in found if not entry.is_folder])
    items: list[dict[str, Any]] = [
        {"type": "directory", "oid": entry.oid, "size": 0, "path": path} if entry.is_folder else tree_item(path, blobs[entry.oid])
        for path, entry in found
    ]
    if expand:
        changes = history.last_changes(commit, [path for path, _ in found])
        for item in items:
            last = changes[item["path"]]
            item["lastCommit"] = {"id": last.oid, "title": last.title, "date": last.date}
            if item["type"] == "file":
                item["securityFileStatus"] = None
    return items


def _flag(text: str | None) -> bool:
    return (text or "").lower() in ("true", "1")
