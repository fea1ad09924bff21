"""One request to the Hub, and its answers."""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import parse_qs

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.datastructures import Headers, QueryParams
from starlette.responses import JSONResponse, Response

from infra.local_hub.accounts import Viewer
from infra.local_hub.fields import Fields, parsed, whole
from infra.local_hub.history import History
from infra.local_hub.hub import Hub
from infra.local_hub.refusal import Refusal, bad_request
from infra.local_hub.repositories import Repository

_PAGE_ITEMS = 1000
_MOST_VALUES = 200_000  # each takes some 200 bytes of memory, be it ever so short as text
_MOST_FORM_FIELDS = 100_000
_LONGEST_HEADER = 1000
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_Result = TypeVar("_Result")


@dataclass
class Call:
    """What was asked, by whom."""

    hub: Hub
    method: str
    path: str  # raw: still quoted
    query: QueryParams
    headers: Headers
    viewer: Viewer | None
    base_url: str
    threads: CapacityLimiter | None
    body: bytes = b""

    @cached_property
    def fields(self) -> Fields:
        """The body, a JSON object; an empty body, or null, is an empty one.

        Raises:
            Refusal: it is something else, or has more values than memory should hold (413).

        """
        if sum(self.body.count(mark) for mark in b",[{") > _MOST_VALUES:
            raise Refusal(413, f"The request has more than {_MOST_VALUES} values")
        value = parsed(self.body) if self.body.strip() else None
        return Fields({} if value is None else value)

    def form(self) -> dict[str, list[str]]:
        """The body, a form.

        Raises:
            Refusal: it is no UTF-8, or endless.

        """
        try:
            return parse_qs(self.body.decode(), keep_blank_values=True, max_num_fields=_MOST_FORM_FIELDS)
        except ValueError as error:
            raise bad_request("The body is no form") from error

    async def in_thread(self, function: Callable[..., _Result], *values: Any) -> _Result:
        """Run what takes its time, or asks the database, in one of the threads that have a connection to it."""
        return await run_sync(function, *values, limiter=self.threads)

    def user(self) -> Viewer:
        """Who asks.

        Raises:
            Refusal: 401 for nobody.

        """
        if self.viewer is None:
            raise Refusal(401, "Invalid username or password.")
        return self.viewer

    def writer(self) -> Viewer:
        """Who asks, with a token that may write.

        Raises:
            Refusal: 401 for nobody, 403 for a token that only reads.

        """
        viewer = self.user()
        if viewer.role != "write":
            raise Refusal(403, "Forbidden: this token may only read. Use one with the role write.")
        return viewer

    def readable(self, kind: str, owner: str, name: str) -> Repository:
        """The repository, if the caller may know of it."""
        return self.hub.repositories.readable(self.viewer, kind, f"{owner}/{name}")

    def writable(self, kind: str, owner: str, name: str) -> Repository:
        """The repository, if the caller may change it."""
        return self.hub.repositories.writable(self.viewer, kind, f"{owner}/{name}")

    def history(self, kind: str, owner: str, name: str) -> History:
        """The history of a repository whose content the caller may see."""
        repository = self.readable(kind, owner, name)
        self.hub.repositories.check_content(self.viewer, repository)
        return self.hub.history(repository)

    def page(self, items: list[Any], path: str | None = None) -> Response:
        """One page of a list, with the address of the next in its Link header."""
        start, limit = whole(self.query.get("cursor")) or 0, whole(self.query.get("limit"))
        count = _PAGE_ITEMS if limit is None else max(1, min(limit, _PAGE_ITEMS))
        headers = {"X-Total-Count": str(len(items))}
        if start + count < len(items):
            following = self.query.multi_items()
            kept = [(key, value) for key, value in following if key != "cursor"]
            query = str(QueryParams([*kept, ("cursor", str(start + count))]))
            headers["Link"] = f'<{self.base_url}{path or self.path}?{query}>; rel="next"'
        return JSONResponse(items[start : start + count], headers=headers)


def refused(refusal: Refusal) -> JSONResponse:
    """The answer to a refused request, in the headers and fields that the clients read."""
    message = refusal.message
    shown = _CONTROLS.sub(" ", message[:_LONGEST_HEADER]).encode("latin-1", "replace").decode("latin-1")
    headers = refusal.headers | {"X-Error-Message": shown}
    if refusal.code:
        headers["X-Error-Code"] = refusal.code
    return JSONResponse({"error": message} | refusal.fields, refusal.status, headers)


def request_id() -> str:
    """A name for one request, to find it again."""
    return f"Root=1-{secrets.token_hex(4)}-{secrets.token_hex(12)}"
