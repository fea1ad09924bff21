"""What the Hub says of a repository: /api/models/ID and the lists."""

from typing import Any

from infra.local_hub import cards
from infra.local_hub.accounts import Viewer
from infra.local_hub.blobs import Blob, Blobs
from infra.local_hub.foreign import jsonable, parsed_json
from infra.local_hub.history import MAIN, Commit, History
from infra.local_hub.hub import Hub
from infra.local_hub.refusal import bad_request
from infra.local_hub.repositories import Repository

_ALWAYS = ("_id", "id", "modelId")
_COMMON = (
    "author", "cardData", "createdAt", "disabled", "lastModified", "likes", "private", "resourceGroup", "sha", "siblings", "tags",
    "trendingScore", "usedStorage",
)  # fmt: skip
EXPANDABLE = {
    "model": (
        *_COMMON, "baseModels", "childrenModelCount", "config", "downloads", "downloadsAllTime", "evalResults", "gated", "gguf",
        "inference", "inferenceProviderMapping", "library_name", "mask_token", "model-index", "pipeline_tag", "safetensors",
        "spaces", "transformersInfo", "widgetData",
    ),
    "dataset": (*_COMMON, "citation", "description", "downloads", "downloadsAllTime", "gated", "mainSize", "paperswithcode_id"),
    "space": (*_COMMON, "datasets", "models", "region", "runtime", "sdk", "subdomain"),
}  # fmt: skip
_ONLY_ON_REQUEST = ("downloadsAllTime", "resourceGroup")


def description(
    hub: Hub, repository: Repository, base_url: str, commit: Commit | None = None, blobs: bool = False
) -> dict[str, Any]:
    """Everything that is known of a repository, at a commit or the head of main."""
    history = hub.history(repository)
    commit = commit or history.commit("main")
    contents = Blobs(hub.store, repository.id)
    trees = history.trees()
    card = cards.metadata(contents.text(trees, commit.tree, "README.md")) or {}
    files = trees.files(commit.tree)
    described: dict[str, Any] = {
        "_id": repository.id,
        "id": repository.path,
        "author": repository.owner_name,
        "sha": commit.oid,
        "createdAt": repository.created,
        "lastModified": commit.date,
        "private": repository.private,
        "gated": repository.gated or False,
        "disabled": False,
        "downloads": 0,
        "downloadsAllTime": 0,
        "likes": len(hub.community.likes(repository)),
        "trendingScore": 0,
        "resourceGroup": None,
        "tags": cards.tags(card, repository.kind),
        "cardData": card,
        "siblings": _siblings(contents, files, blobs),
        "usedStorage": _used(hub, repository),
    }
    if repository.kind == "model":
        described |= {"modelId": repository.path} | _model(contents.text(trees, commit.tree, "config.json"), card)
    elif repository.kind == "dataset":
        described |= {key: card[key] for key in ("paperswithcode_id", "citation", "description") if key in card}
    else:
        described |= _space(hub, repository, base_url, card)
    return described


def selected(described: dict[str, Any], kind: str, expand: list[str]) -> dict[str, Any]:
    """Only what was asked for; without a list, all but what is costly elsewhere.

    Raises:
        Refusal: a name that there is not.

    """
    if not expand:
        return {key: value for key, value in described.items() if key not in _ONLY_ON_REQUEST}
    for name in expand:
        if name not in EXPANDABLE[kind]:
            options = "|".join(f'"{option}"' for option in sorted(EXPANDABLE[kind]))
            raise bad_request(f'"expand" must be one of [{options}]. Invalid option: expected one of {options}')
    return {key: value for key, value in described.items() if key in (*_ALWAYS, *expand)}


def listing(hub: Hub, viewer: Viewer | None, kind: str, query: "Any", base_url: str) -> list[dict[str, Any]]:
    """The repositories that fit a query (a multi-mapping of author, search, filter, gated, sort, direction, expand)."""
    author, search = query.get("author", "").lower(), query.get("search", "").lower()
    wanted = [tag for value in query.getlist("filter") for tag in value.split(",")]
    wanted += [query[key] for key in ("pipeline_tag", "library") if key in query]
    gated = query.get("gated")
    found = []
    for repository in hub.repositories.visible(viewer, kind):
        if (author and repository.owner_name.lower() != author) or search not in repository.path.lower():
            continue
        if gated is not None and bool(repository.gated) is not (gated == "true"):
            continue
        if hub.history(repository).reference(MAIN) is None:
            continue
        described = description(hub, repository, base_url)
        linked = all(query.get(key) in (None, *described.get(key, [])) for key in ("models", "datasets"))
        if linked and all(_has_tag(described["tags"], tag) for tag in wanted):
            found.append(described)
    key = query.get("sort")
    if key in ("lastModified", "createdAt", "likes", "downloads", "trendingScore"):
        found.sort(key=lambda described: described[key], reverse=query.get("direction", "-1") == "-1")
    expand = expansions(query)
    full = query.get("full") == "true" or bool(expand)
    return [selected(described if full else _shortened(described, query), kind, expand) for described in found]


def expansions(query: "Any") -> list[str]:
    """What a query asks to expand: expand=a&expand=b or expand[]=a."""
    return [*query.getlist("expand"), *query.getlist("expand[]")]


def tree_item(path: str, blob: Blob) -> dict[str, Any]:
    """A file in the answers of tree and paths-info."""
    item: dict[str, Any] = {"type": "file", "oid": blob.oid, "size": blob.size, "path": path}
    if blob.lfs:
        item["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": blob.pointer_size}
    return item


def commit_item(commit: Commit, formatted: bool = False) -> dict[str, Any]:
    """A commit in the answer of commits."""
    item: dict[str, Any] = {
        "id": commit.oid,
        "title": commit.title,
        "message": commit.message,
        "date": commit.date,
        "authors": [{"user": commit.author, "avatar": ""}],
    }
    return item | ({"formatted": {"title": commit.title, "message": commit.message}} if formatted else {})


def references_item(history: History, pull_requests: bool) -> dict[str, Any]:
    """The answer of refs."""
    kinds: dict[str, list[dict[str, str]]] = {"heads": [], "tags": [], "pr": []}
    for reference in history.references():
        kinds[reference.name.split("/")[1]].append(
            {"name": reference.short, "ref": reference.name, "targetCommit": reference.oid}
        )
    answer: dict[str, Any] = {"branches": kinds["heads"], "tags": kinds["tags"], "converts": []}
    return answer | ({"pullRequests": kinds["pr"]} if pull_requests else {})


def _shortened(described: dict[str, Any], query: "Any") -> dict[str, Any]:
    kept = {"cardData"} if query.get("cardData") == "true" else set()
    kept |= {"config"} if query.get("config") == "true" else set()
    linked = ("models", "datasets")
    kept |= {key for key in linked if query.get("linked") == "true" or key in query}
    costly = {"cardData", "config", "siblings", "runtime", "models", "datasets"}
    return {key: value for key, value in described.items() if key not in costly - kept}


def _siblings(contents: Blobs, files: dict[str, str], blobs: bool) -> list[dict[str, Any]]:
    if not blobs:
        return [{"rfilename": path} for path in files]
    found = contents.get(list(set(files.values())))
    siblings = []
    for path, oid in files.items():
        item = tree_item(path, found[oid])
        lfs = (
            {"sha256": item["lfs"]["oid"], "size": item["size"], "pointerSize": item["lfs"]["pointerSize"]}
            if "lfs" in item
            else None
        )
        siblings.append({"rfilename": path, "size": item["size"], "blobId": oid} | ({"lfs": lfs} if lfs else {}))
    return siblings


def _used(hub: Hub, repository: Repository) -> int:
    query = "SELECT COALESCE(SUM(size), 0) AS used FROM holdings WHERE repository = ?"
    return int(hub.store.read(query, [repository.id])[0]["used"])


def _model(config_text: str | None, card: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {key: card[key] for key in ("pipeline_tag", "library_name", "model-index") if key in card}
    try:
        config = parsed_json(config_text or "{}")
        if isinstance(config, dict):
            described["config"] = jsonable({key: config[key] for key in ("architectures", "model_type") if key in config})
    except ValueError:  # somebody's broken config.json is no fault of the Hub
        described["config"] = {}
    return described | ({"widgetData": card["widget"]} if "widget" in card else {})


def _space(hub: Hub, repository: Repository, base_url: str, card: dict[str, Any]) -> dict[str, Any]:
    subdomain = f"{repository.owner_name}-{repository.name}".lower()
    return {
        "sdk": card.get("sdk", repository.sdk),
        "subdomain": subdomain,
        "host": f"{base_url}/spaces/{repository.path}",
        "runtime": hub.spaces.runtime(repository, base_url),
        "models": cards.texts(card, "models"),
        "datasets": cards.texts(card, "datasets"),
    }


def _has_tag(tags: list[str], wanted: str) -> bool:
    return wanted in tags or f"language:{wanted}" in tags or (wanted.startswith("language:") and wanted[9:] in tags)
