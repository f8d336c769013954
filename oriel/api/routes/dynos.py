"""Owns the doors to running dynos. Restarting and stopping by type is at `formations`, in the
plural, because that is what the official command line asks for.
"""

from __future__ import annotations

from starlette.responses import Response

from oriel import faults
from oriel.api import representations
from oriel.api.doors import Call, Door, reply
from oriel.control import access, dynos


async def show_all(call: Call) -> Response:
    """Every dyno of an app."""
    app = await access.app_of(call.world, call.actor, call.path("app"))
    found = await dynos.dynos(call.world, call.actor, app.id)
    extended = call.flag("extended")
    return reply([representations.dyno(each, app.name, extended=extended) for each in found])


async def show(call: Call) -> Response:
    """One dyno, by name or id."""
    app = await access.app_of(call.world, call.actor, call.path("app"))
    named = call.path("dyno")
    for each in await dynos.dynos(call.world, call.actor, app.id):
        shown = representations.dyno(each, app.name)
        if named in (shown["name"], shown["id"], each.instance):
            return reply(shown)
    raise faults.NotFound("Couldn't find that dyno.", resource="dyno", app=app.name)


async def restart_all(call: Call) -> Response:
    """Restart every dyno."""
    await dynos.restart(call.world, call.actor, call.path("app"), None)
    return reply({}, 202)


async def restart(call: Call) -> Response:
    """Restart a dyno, or those of a type."""
    await dynos.restart(call.world, call.actor, call.path("app"), call.path("dyno"))
    return reply({}, 202)


async def stop(call: Call) -> Response:
    """Stop a dyno, or those of a type."""
    await dynos.stop(call.world, call.actor, call.path("app"), call.path("dyno"))
    return reply({}, 202)


DOORS = (
    Door("GET", "/apps/{app}/dynos", show_all),
    Door("DELETE", "/apps/{app}/dynos", restart_all),
    Door("GET", "/apps/{app}/dynos/{dyno}", show),
    Door("DELETE", "/apps/{app}/dynos/{dyno}", restart),
    Door("POST", "/apps/{app}/dynos/{dyno}/actions/stop", stop),
    Door("DELETE", "/apps/{app}/formations/{dyno}", restart),
    Door("POST", "/apps/{app}/formations/{dyno}/actions/stop", stop),
)
