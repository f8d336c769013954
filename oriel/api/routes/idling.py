"""Owns the doors to an app's idling: after how long without a request its web dynos end."""

from __future__ import annotations

from dataclasses import asdict

from starlette.responses import Response

from oriel import faults
from oriel.api.doors import Call, Door, reply
from oriel.control import idling


async def show(call: Call) -> Response:
    """After how many seconds the app goes idle, null for never, and whether it is idle now."""
    return reply(asdict(await idling.idling(call.world, call.actor, call.path("app"))))


async def change(call: Call) -> Response:
    """Let it go idle after `after_s` seconds without a request."""
    after_s = call.body.optional_number("after_s")
    if after_s is None:
        raise faults.Invalid("Say after how many seconds, as after_s.")
    made = await idling.set_idling(call.world, call.actor, call.path("app"), after_s)
    return reply(asdict(made))


async def remove(call: Call) -> Response:
    """It does not go idle; if it is, it is woken."""
    left = await idling.unset_idling(call.world, call.actor, call.path("app"))
    return reply(asdict(left))


DOORS = (
    Door("GET", "/oriel/apps/{app}/idling", show),
    Door("PUT", "/oriel/apps/{app}/idling", change),
    Door("DELETE", "/oriel/apps/{app}/idling", remove),
)
