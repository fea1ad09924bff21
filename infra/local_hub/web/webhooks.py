"""/api/settings/webhooks."""

from typing import Any

from starlette.responses import JSONResponse, Response

from infra.local_hub.refusal import Refusal
from infra.local_hub.web.call import Call
from infra.local_hub.web.routing import Router

router = Router()


@router.add("GET", "/api/settings/webhooks")
def webhooks(call: Call) -> Response:
    """The caller's webhooks."""
    return JSONResponse(call.hub.webhooks.all(call.user()))


@router.add("POST", "/api/settings/webhooks", "/api/settings/webhooks/{identity}")
def save(call: Call, identity: str | None = None) -> dict[str, Any]:
    """Make or change one."""
    return {"webhook": call.hub.webhooks.save(call.writer(), call.fields, identity)}


@router.add("GET", "/api/settings/webhooks/{identity}")
def webhook(call: Call, identity: str) -> dict[str, Any]:
    """One of them."""
    return {"webhook": call.hub.webhooks.get(call.user(), identity)}


@router.add("POST", "/api/settings/webhooks/{identity}/{action}")
def switch(call: Call, identity: str, action: str) -> dict[str, Any]:
    """Enable or disable one."""
    if action not in ("enable", "disable"):
        raise Refusal(404, f"A webhook cannot {action}")
    return {"webhook": call.hub.webhooks.disable(call.writer(), identity, action == "disable")}


@router.add("DELETE", "/api/settings/webhooks/{identity}")
def remove(call: Call, identity: str) -> Response:
    """Delete one."""
    call.hub.webhooks.remove(call.writer(), identity)
    return Response(status_code=200)
