"""`voxfactory webhook`: a Hub tells that a dataset changed, and Prefect hears it as an event.

A delivery counts only with the right secret, for a dataset that is watched, and for new content of its main branch. Whatever it says
beyond that is not used: not the name of a flow, not a parameter. A delivery that cannot be passed on is answered with 503, so that the
Hub sends it again; one that was passed on before is answered the same and starts nothing.
"""

import hmac
import json
from typing import Any

from httpx import HTTPError
from prefect.exceptions import PrefectHTTPStatusError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from infra.errors import SettingsError, WebhookError
from infra.settings import Settings
from tasks.events import dataset_updated

SECRET_HEADER = "X-Webhook-Secret"  # noqa: S105 - the name of the header, by the Hub's documentation
_LARGEST_BYTES = 256_000  # a delivery of the Hub has some hundreds
_MAIN = "refs/heads/main"


class _Refused(WebhookError):
    """With the status that tells the sender."""

    def __init__(self, status: int, problem: str, fix: str) -> None:
        super().__init__(problem, fix)
        self.status = status


def create_app(settings: Settings) -> Starlette:
    """The ASGI application: POST / for deliveries, GET /health.

    Raises:
        SettingsError: there is no secret, so that anybody could start trainings.

    """
    if settings.webhook_secret is None:
        raise SettingsError("VOXFACTORY_WEBHOOK_SECRET is not set", "Choose a long one, and give the same to the Hub's webhook")
    secret = settings.webhook_secret.get_secret_value().encode()
    watched = {one.repository.lower(): one.repository for one in settings.watch}

    async def deliver(request: Request) -> JSONResponse:
        try:
            _check_sender(request, secret)
            change = _change(json.loads(await _body(request)), watched)
        except _Refused as refused:
            return JSONResponse({"error": str(refused)}, status_code=refused.status)
        except ValueError:
            return JSONResponse({"error": "The delivery is no JSON."}, status_code=400)
        if change is None:
            return JSONResponse({"event": None}, status_code=202)
        try:
            new = await run_in_threadpool(dataset_updated, *change)
        except (HTTPError, PrefectHTTPStatusError):
            return JSONResponse({"error": "The Prefect server does not answer. Send it again later."}, status_code=503)
        return JSONResponse({"event": f"{change[0]}@{change[1]}", "new": new}, status_code=202)

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({"watched": len(watched)})

    return Starlette(routes=[Route("/", deliver, methods=["POST"]), Route("/health", health)])


def _check_sender(request: Request, secret: bytes) -> None:
    given = request.headers.get(SECRET_HEADER, "").encode()
    if not hmac.compare_digest(given, secret):
        raise _Refused(401, "The delivery has not our secret", "Give the webhook the value of VOXFACTORY_WEBHOOK_SECRET")


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _LARGEST_BYTES:
            raise _Refused(413, f"The delivery has more than {_LARGEST_BYTES} bytes", "Send what the Hub sends")
    return bytes(body)


def _change(delivery: Any, watched: dict[str, str]) -> tuple[str, str] | None:
    """Dataset and revision, or None where nothing happened that concerns us.

    Raises:
        _Refused: it is for a dataset that is not watched.

    """
    try:
        event, repository = delivery["event"], delivery["repo"]
        if event["action"] != "update" or not event["scope"].startswith("repo.content") or repository["type"] != "dataset":
            return None
        revisions = [one["newSha"] for one in delivery.get("updatedRefs", []) if one["ref"] == _MAIN and one.get("newSha")]
        name = str(repository["name"])
    except (KeyError, TypeError, AttributeError) as error:
        raise _Refused(400, "The delivery is not as a Hub sends it", "Send what the Hub sends") from error
    if name.lower() not in watched:
        raise _Refused(403, f"{name} is not watched", "Name it in VOXFACTORY_WATCH")
    return (watched[name.lower()], str(revisions[-1])) if revisions else None
