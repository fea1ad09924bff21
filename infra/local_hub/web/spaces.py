"""Variables, secrets, runtime and logs of Spaces over HTTP."""

import json
from typing import Any

from starlette.responses import Response

from infra.local_hub.fields import Fields
from infra.local_hub.web.call import Call
from infra.local_hub.web.routing import Router

router = Router()
_VALUES = {"variables": "variable", "secrets": "secret"}


def _each(methods: str, *names: str) -> Any:
    """Serve /api/spaces/ID/NAME for each of the names, which the handler takes as `what`."""

    def register(handler: Any) -> Any:
        for name in names:
            router.add(methods, f"/api/spaces/{{owner}}/{{name}}/{name}", what=name)(handler)
        return handler

    return register


@_each("GET", "variables", "secrets")
def values(call: Call, owner: str, name: str, what: str) -> dict[str, Any]:
    """Variables, or secrets without their values."""
    return call.hub.spaces.shown_values(call.writable("space", owner, name), _VALUES[what])


@_each("POST", "variables", "secrets")
def set_value(call: Call, owner: str, name: str, what: str) -> dict[str, Any]:
    """Set a variable or a secret."""
    space = call.writable("space", owner, name)
    with call.hub.store.transaction() as database:
        call.hub.spaces.set_value(database, space, _VALUES[what], call.fields)
        return call.hub.spaces.shown_values(space, _VALUES[what])


@_each("DELETE", "variables", "secrets")
def remove_value(call: Call, owner: str, name: str, what: str) -> dict[str, Any]:
    """Delete a variable or a secret."""
    space = call.writable("space", owner, name)
    with call.hub.store.transaction() as database:
        call.hub.spaces.remove_value(database, space, _VALUES[what], call.fields.text("key"))
        return call.hub.spaces.shown_values(space, _VALUES[what])


@router.add("GET", "/api/spaces/{owner}/{name}/runtime")
def runtime(call: Call, owner: str, name: str) -> dict[str, Any]:
    """What runs, on what."""
    return call.hub.spaces.runtime(call.readable("space", owner, name), call.base_url)


@_each("POST", "restart", "pause", "hardware", "sleeptime")
def act(call: Call, owner: str, name: str, what: str) -> dict[str, Any]:
    """Restart, pause, change hardware or sleep time."""
    return _changed(call, owner, name, **_runtime_change(what, call.fields))


@router.add("PUT", "/api/spaces/{owner}/{name}/volumes")
def mount(call: Call, owner: str, name: str) -> dict[str, Any]:
    """Say which repositories are mounted."""
    return _changed(call, owner, name, volumes=[volume.plain() for volume in call.fields.objects("volumes")])


@router.add("DELETE", "/api/spaces/{owner}/{name}/volumes")
def unmount(call: Call, owner: str, name: str) -> dict[str, Any]:
    """Let go of the volumes."""
    return _changed(call, owner, name, volumes=[])


@router.add("GET", "/api/spaces/{owner}/{name}/logs/{which}")
def logs(call: Call, owner: str, name: str, which: str) -> Response:
    """What the Space printed, as server-sent events."""
    space = call.writable("space", owner, name)
    lines = call.hub.spaces.log(space).splitlines() if which == "run" else []
    events = [f"data: {json.dumps({'data': line + chr(10), 'timestamp': space.modified})}\n\n" for line in lines]
    return Response("".join(events), media_type="text/event-stream")


def _changed(call: Call, owner: str, name: str, **values: Any) -> dict[str, Any]:
    space = call.writable("space", owner, name)
    with call.hub.store.transaction() as database:
        call.hub.spaces.change_runtime(database, space, **values)
    return call.hub.spaces.runtime(space, call.base_url)


def _runtime_change(action: str, fields: Fields) -> dict[str, Any]:
    if action == "restart":
        return {"stage": "BUILDING"}
    if action == "pause":
        return {"stage": "PAUSED"}
    if action == "sleeptime":
        return {"sleep_s": fields.number("seconds") or -1}
    return {"hardware": fields.optional_text("flavor"), "sleep_s": fields.number("sleepTimeSeconds")}
