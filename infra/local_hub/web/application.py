"""The Hub as an ASGI application: who asks, which route, and what a refusal looks like."""

import logging
import re
import sqlite3
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.datastructures import Headers, QueryParams
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from infra.errors import HomeError
from infra.local_hub.hub import Hub
from infra.local_hub.refusal import Refusal, bad_request
from infra.local_hub.web import changes, community, discussions, files, large_files, pages, repositories, spaces, webhooks
from infra.local_hub.web.call import Call, refused, request_id
from infra.local_hub.web.routing import Route, Router
from infra.local_hub.web.sessions import COOKIE, viewer_of, viewer_of_token

LONGEST_HEAD_BYTES = 32 * 1024
_LONGEST_BODY_BYTES = 4 << 20
_THREADS = 8  # each has a database connection of its own
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_log = logging.getLogger(__name__)


class Application:
    """Serves one Hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._threads: CapacityLimiter | None = None
        self._router = Router()
        rooms = (files, changes, large_files, discussions, spaces, webhooks, community, repositories, pages)
        self._router.include(room.router for room in rooms)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        self._threads = self._threads or CapacityLimiter(_THREADS)
        request = Request(scope, receive)
        response = await self._answer(request)
        response.headers["X-Request-Id"] = request_id()
        try:
            await response(scope, receive, send)
        except ClientDisconnect:
            _log.debug("%s went away", scope.get("client"))

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._handled(request)
        except Refusal as refusal:
            return await self._in_thread(_refused_for, request, refusal)
        except HomeError as error:
            return refused(Refusal(507, str(error)))
        except ClientDisconnect:
            return Response(status_code=499)
        except sqlite3.OperationalError as error:  # a full disk, or a database that others kept for a minute
            _log.warning("%s %r: %s", request.method, request.scope["path"], error)
            return refused(Refusal(503, f"The Hub's database cannot answer now: {error}", None, {"Retry-After": "1"}))
        except sqlite3.IntegrityError:
            return refused(Refusal(409, "What this is about was deleted or made meanwhile: look again"))

    async def _handled(self, request: Request) -> Response:
        if sum(len(name) + len(value) for name, value in request.headers.raw) > LONGEST_HEAD_BYTES:
            raise Refusal(431, "The request's headers are too long")
        found = self._find(request)
        if found is None:
            raise Refusal(404, f"Not found: {request.scope['path'][:200]}")
        route, captures = found
        call = await self._in_thread(self._call, request)
        if route.streams:
            made = await route.handler(call, request, **captures)
        else:
            call.body = await _body(request)
            made = await self._in_thread(_answered, route, call, captures)
        if isinstance(made, Response):
            return made
        return JSONResponse(made)

    def _find(self, request: Request) -> tuple[Route, dict[str, str]] | None:
        try:
            return self._router.find(request.method, _raw_path(request))
        except UnicodeDecodeError as error:
            raise bad_request("The path is not UTF-8") from error

    def _call(self, request: Request) -> Call:
        headers = Headers(raw=request.headers.raw)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        by_token = scheme.lower() == "bearer"
        session = request.cookies.get(COOKIE)
        viewer = viewer_of_token(self._hub, token.strip()) if by_token else viewer_of(self._hub, session)
        return Call(
            hub=self._hub,
            method=request.method,
            path=_raw_path(request),
            query=QueryParams(request.scope.get("query_string", b"").decode("latin-1")),
            headers=headers,
            viewer=viewer,
            base_url=f"{request.scope['scheme']}://{_host(request)}",
            threads=self._threads,
        )

    async def _in_thread(self, function: Callable[..., Any], *values: Any, **named: Any) -> Any:
        return await run_sync(lambda: function(*values, **named), limiter=self._threads)


def _answered(route: Route, call: Call, captures: dict[str, str]) -> Any:
    """What the handler makes of a call; whoever only reads sees one moment."""
    with call.hub.store.snapshot() if route.reads else nullcontext():
        return route.handler(call, **captures)


def _raw_path(request: Request) -> str:
    raw: bytes = request.scope["raw_path"]
    return raw.split(b"?")[0].decode("ascii")


def _host(request: Request) -> str:
    """The Hub's address as the client knows it; answers and webhooks name it."""
    host = request.headers.get("host") or ":".join(map(str, request.scope["server"]))
    if not _HOST.fullmatch(host):
        raise bad_request("The Host header names no host")
    return host


def _refused_for(request: Request, refusal: Refusal) -> Response:
    """JSON for a client, a page for a person."""
    wants_page = "text/html" in request.headers.get("accept", "") and not request.scope["path"].startswith("/api/")
    if request.method == "GET" and wants_page:
        return pages.refused_page(None, refusal)
    return refused(refusal)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_BODY_BYTES:
            raise Refusal(413, f"The request is longer than {_LONGEST_BODY_BYTES} bytes")
    return bytes(body)
