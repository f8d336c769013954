"""Owns the doors to how an app's web dynos show that they are up."""

from __future__ import annotations

from dataclasses import asdict

from starlette.responses import Response

from oriel.api.doors import Call, Door, reply
from oriel.control import checks


async def show(call: Call) -> Response:
    """What a web dyno must do to be up, and by when."""
    found = await checks.check(call.world, call.actor, call.path("app"))
    return reply(asdict(found))


async def change(call: Call) -> Response:
    """Change `path`, `boot_timeout_s`, or both; for web dynos that start from now on."""
    made = await checks.set_check(
        call.world,
        call.actor,
        call.path("app"),
        path=call.body.optional_text("path"),
        boot_timeout_s=call.body.optional_number("boot_timeout_s"),
    )
    return reply(asdict(made))


async def remove(call: Call) -> Response:
    """Back to the port alone, and 60 seconds."""
    left = await checks.unset_check(call.world, call.actor, call.path("app"))
    return reply(asdict(left))


DOORS = (
    Door("GET", "/oriel/apps/{app}/check", show),
    Door("PATCH", "/oriel/apps/{app}/check", change),
    Door("DELETE", "/oriel/apps/{app}/check", remove),
)
