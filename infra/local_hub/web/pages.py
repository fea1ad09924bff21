"""Pages to look at: repositories, cards, files, commits. They change nothing."""

from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.datastructures import QueryParams
from starlette.responses import HTMLResponse, RedirectResponse, Response

from infra.local_hub import cards
from infra.local_hub.blobs import Blob, Blobs
from infra.local_hub.describe import description, listing
from infra.local_hub.fields import whole
from infra.local_hub.history import Commit, History
from infra.local_hub.identity import EMPTY_TREE
from infra.local_hub.paths import composed
from infra.local_hub.refusal import Refusal, unknown_entry
from infra.local_hub.repositories import KINDS, Repository
from infra.local_hub.web import sessions
from infra.local_hub.web.call import Call
from infra.local_hub.web.markdown import rendered
from infra.local_hub.web.routing import Router

router = Router()
_TEMPLATES = Path(__file__).with_name("templates")
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; media-src 'self'; form-action 'self'; frame-ancestors 'none'"
)
_PICTURES, _SOUNDS = (".png", ".jpg", ".jpeg", ".gif", ".webp"), (".wav", ".mp3", ".flac", ".ogg")
_SHOWN_BYTES = 200_000
_PAGE_COMMITS = 100


@router.add("GET", "/")
def home(call: Call) -> Response:
    """Every repository that the caller may see."""
    search = call.query.get("search", "")
    lists = [(kind, listing(call.hub, call.viewer, kind, QueryParams(search=search), call.base_url)) for kind in KINDS]
    return page(call, "home.html", "Repositories", lists=lists, search=search)


@router.add("GET", "/sign-in")
def sign_in(call: Call) -> Response:
    """A form for a token; or, with a signed link, signed in at once."""
    if "signature" in call.query:
        values = [call.query.get(name, "") for name in ("account", "expires", "signature")]
        return _signed_in(sessions.session_of_link(call.hub, *values))
    return page(call, "sign-in.html", "Sign in")


@router.add("POST", "/sign-in")
def sign_in_with_token(call: Call) -> Response:
    """Signed in by a token."""
    return _signed_in(sessions.session_of_token(call.hub, call.form().get("token", [""])[0].strip()))


@router.add_files("GET", "{owner}/{name}")
@router.add_files("GET", "{owner}/{name}/tree/{revision}")
def card(call: Call, kind: str, owner: str, name: str, revision: str = "main") -> Response:
    """A repository's card, and its files beside it."""
    history = call.history(kind, owner, name)
    commit, repository = history.commit(revision), history.repository
    text = Blobs(call.hub.store, repository.id).text(history.trees(), commit.tree, "README.md")
    raw, shown = (f"/{repository.address}/{what}/{quote(revision, safe='')}" for what in ("resolve", "blob"))
    described = description(call.hub, repository, call.base_url, commit)
    readme = rendered(cards.body(text), raw, shown) if text else None
    files = _listing(call, history, commit, "")
    return _repository_page(call, "card.html", history, revision, commit=commit, readme=readme, files=files, described=described)


@router.add_files("GET", "{owner}/{name}/tree/{revision}/{path*}")
def folder(call: Call, kind: str, owner: str, name: str, revision: str, path: str) -> Response:
    """The files of a folder."""
    history, place = call.history(kind, owner, name), composed(path).strip("/")
    commit = history.commit(revision)
    files = _listing(call, history, commit, place)
    return _repository_page(call, "folder.html", history, revision, commit=commit, files=files, path=place)


@router.add_files("GET", "{owner}/{name}/blob/{revision}/{path*}")
def file(call: Call, kind: str, owner: str, name: str, revision: str, path: str) -> Response:
    """One file: text, picture, sound, or where to download it."""
    history = call.history(kind, owner, name)
    commit = history.commit(revision)
    entry = history.trees().find(commit.tree, path)
    if entry is None or entry.is_folder:
        raise unknown_entry(f"{path} does not exist on {revision!r}", commit.oid)
    contents = Blobs(call.hub.store, history.repository.id)
    blob = contents.get([entry.oid])[entry.oid]
    suffix = Path(path).suffix.lower()
    look = "picture" if suffix in _PICTURES else "sound" if suffix in _SOUNDS else "text"
    text = _text(contents, blob) if look == "text" else None
    return _repository_page(call, "file.html", history, revision, commit=commit, path=path, blob=blob, look=look, text=text)


@router.add_files("GET", "{owner}/{name}/commits/{revision}")
def commits(call: Call, kind: str, owner: str, name: str, revision: str) -> Response:
    """The history of a revision."""
    history = call.history(kind, owner, name)
    log = [commit for commit, _ in zip(history.log(history.commit(revision)), range(_PAGE_COMMITS), strict=False)]
    tags: dict[str, list[str]] = {}
    for reference in history.references():
        if reference.name.startswith("refs/tags/"):
            tags.setdefault(reference.oid, []).append(reference.short)
    return _repository_page(call, "commits.html", history, revision, log=log, tags=tags)


@router.add_files("GET", "{owner}/{name}/commit/{revision}")
def commit_page(call: Call, kind: str, owner: str, name: str, revision: str) -> Response:
    """What one commit changed."""
    history = call.history(kind, owner, name)
    commit = history.commit(revision)
    trees = history.trees()
    before = trees.files(history.by_oid(commit.parent).tree if commit.parent else EMPTY_TREE)
    after = trees.files(commit.tree)
    changed = [path for path in sorted(before.keys() | after.keys()) if before.get(path) != after.get(path)]
    rows = [(path, "removed" if path not in after else "added" if path not in before else "changed") for path in changed]
    return _repository_page(call, "commit.html", history, revision, commit=commit, rows=rows)


@router.add_files("GET", "{owner}/{name}/discussions")
def discussions(call: Call, kind: str, owner: str, name: str) -> Response:
    """Discussions and pull requests."""
    history = call.history(kind, owner, name)
    found = call.hub.discussions(history.repository).listed(None, None, None)
    return _repository_page(call, "discussions.html", history, "main", found=found)


@router.add_files("GET", "{owner}/{name}/discussions/{num}")
def discussion(call: Call, kind: str, owner: str, name: str, num: str) -> Response:
    """One of them."""
    history = call.history(kind, owner, name)
    details = call.hub.discussions(history.repository).details(whole(num) or 0)
    return _repository_page(call, "discussion.html", history, "main", details=details)


def page(call: Call, template: str, title: str, status: int = 200, **values: Any) -> Response:
    """A page of the Hub."""
    text = _environment().get_template(template).render(title=title, viewer=call.viewer, **values)
    return HTMLResponse(text, status, {"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer"})


def refused_page(call: Call | None, refusal: Refusal) -> Response:
    """What a person sees instead of a JSON error."""
    status = 404 if refusal.status == 401 else refusal.status
    text = (
        _environment()
        .get_template("refused.html")
        .render(title=str(status), viewer=call.viewer if call else None, refusal=refusal)
    )
    return HTMLResponse(text, status, {"Content-Security-Policy": _POLICY})


def _repository_page(call: Call, template: str, history: History, revision: str, **values: Any) -> Response:
    repository: Repository = history.repository
    references = [r for r in history.references() if not r.name.startswith("refs/pr/")]
    return page(
        call,
        template,
        repository.path,
        repository=repository,
        revision=revision,
        base=f"/{repository.address}",
        references=references,
        **values,
    )


def _listing(call: Call, history: History, commit: Commit, path: str) -> list[dict[str, Any]]:
    trees = history.trees()
    entry = trees.find(commit.tree, path)
    if entry is None or not entry.is_folder:
        raise unknown_entry(f"{path} does not exist", commit.oid)
    found = list(trees.walk(entry.oid, path, into=False))
    blobs = Blobs(call.hub.store, history.repository.id).get([inner.oid for _, inner in found if not inner.is_folder])
    last = history.last_changes(commit, [name for name, _ in found])
    rows = [
        {"path": name, "folder": inner.is_folder, "blob": None if inner.is_folder else blobs[inner.oid], "last": last[name]}
        for name, inner in found
    ]
    return sorted(rows, key=lambda row: (not row["folder"], row["path"]))


def _text(contents: Blobs, blob: Blob) -> str | None:
    if blob.lfs or blob.size > _SHOWN_BYTES:
        return None
    raw = b"".join(contents.read(blob))
    return None if b"\0" in raw else raw.decode(errors="replace")


def _signed_in(session: str) -> Response:
    answer = RedirectResponse("/", 303)
    hours = sessions.SESSION_HOURS * 3600
    answer.set_cookie(sessions.COOKIE, session, max_age=hours, httponly=True, samesite="strict")
    return answer


def _size(count: int) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1000  # type: ignore[assignment]
    return f"{count:.1f} TB"


@lru_cache(maxsize=1)
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {
        "size": _size,
        "day": lambda time: time[:16].replace("T", " "),
        "part": lambda text: quote(text, safe=""),
    }
    environment.filters["path"] = quote
    return environment
