"""Routes over the raw path: revisions arrive as `refs%2Fpr%2F1` and must stay one part, so the path is split before it is unquoted."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

KIND_FOLDERS = {"models": "model", "datasets": "dataset", "spaces": "space"}
_FILE_PREFIXES = {"model": "", "dataset": "datasets/", "space": "spaces/"}
_ASKED_BY_POST = {"paths-info", "preupload"}


@dataclass(frozen=True)
class Route:
    """One pattern: literal parts, `{captures}`, and at the end perhaps `{path*}`, the rest of the path."""

    method: str
    parts: tuple[str, ...]
    handler: Callable[..., Any]
    streams: bool  # the handler is a coroutine that reads the body itself
    fixed: tuple[tuple[str, str], ...]

    @property
    def reads(self) -> bool:
        """Whether it changes nothing."""
        return self.method in ("GET", "HEAD") or not _ASKED_BY_POST.isdisjoint(self.parts)

    def match(self, parts: list[str]) -> dict[str, str] | None:
        """The captures, if the path fits."""
        open_ended = bool(self.parts) and self.parts[-1].endswith("*}")
        if len(parts) != len(self.parts) and not (open_ended and len(parts) >= len(self.parts) - 1):
            return None
        found = dict(self.fixed)
        for place, expected in enumerate(self.parts):
            if expected.endswith("*}"):
                found[expected[1:-2]] = "/".join(parts[place:])
                break
            if expected == "{kind}":
                if parts[place] not in KIND_FOLDERS:
                    return None
                found["kind"] = KIND_FOLDERS[parts[place]]
            elif expected.startswith("{"):
                found[expected[1:-1]] = parts[place]
            elif expected != parts[place]:
                return None
        return found


class Router:
    """Routes in the order in which they are tried."""

    def __init__(self) -> None:
        self._routes: list[Route] = []

    def add(self, methods: str, *patterns: str, streams: bool = False, **fixed: str) -> Callable[[Callable[..., Any]], Any]:
        """Serve the patterns by the decorated function; `fixed` are further captures."""

        def register(handler: Callable[..., Any]) -> Callable[..., Any]:
            for pattern in patterns:
                parts = tuple(part for part in pattern.split("/") if part)
                self._routes += [Route(method, parts, handler, streams, tuple(fixed.items())) for method in methods.split()]
            return handler

        return register

    def add_files(self, methods: str, pattern: str, streams: bool = False) -> Callable[[Callable[..., Any]], Any]:
        """The same for addresses of files and pages: owner/name/..., datasets/owner/name/..., spaces/owner/name/..."""

        def register(handler: Callable[..., Any]) -> Callable[..., Any]:
            for kind, prefix in _FILE_PREFIXES.items():
                self.add(methods, f"/{prefix}{pattern}", streams=streams, kind=kind)(handler)
            return handler

        return register

    def include(self, others: "Iterable[Router]") -> None:
        """Try the routes of other routers after these."""
        for other in others:
            self._routes += other._routes

    def find(self, method: str, raw_path: str) -> tuple[Route, dict[str, str]] | None:
        """The route and its captures."""
        parts = [unquote(part, errors="strict") for part in raw_path.strip("/").split("/") if part]
        for route in self._routes:
            if route.method == method and (captures := route.match(parts)) is not None:
                return route, captures
        return None
