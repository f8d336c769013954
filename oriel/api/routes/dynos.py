"""Owns the doors to running dynos. Restarting and stopping by type is at `formations`, in the
plural, because that is what the official command line asks for.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.responses import Response

from oriel import faults
from oriel.api import portraits, representations
from oriel.api.doors import Call, Door, reply
from oriel.control import access, card, dynos, history

AT_HEADER = "Oriel-At"


async def show_all(call: Call) -> Response:
    """Every dyno of an app, now or `at` a time, an age, a release; `usage` adds what each takes."""
    app = await access.app_of(call.world, call.actor, call.path("app"))
    extended = call.flag("extended")
    at = call.query("at")
    if at:
        past = await history.at(call.world, call.actor, app.id, at)
        shown = [representations.dyno(each, app.name, extended=extended) for each in past.dynos]
        return reply(shown, headers={AT_HEADER: representations.exact(past.at)})
    found = await dynos.dynos(call.world, call.actor, app.id)
    shown = [representations.dyno(each, app.name, extended=extended) for each in found]
    if call.flag("usage"):
        shown = portraits.used(shown, await card.loads(call.world, app.id))
    return reply(shown)


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
    return _done(await dynos.restart(call.world, call.actor, call.path("app"), None))


async def restart(call: Call) -> Response:
    """Restart a dyno, or those of a type."""
    named = call.path("dyno")
    return _done(await dynos.restart(call.world, call.actor, call.path("app"), named))


async def stop(call: Call) -> Response:
    """Stop a dyno, or those of a type."""
    return _done(await dynos.stop(call.world, call.actor, call.path("app"), call.path("dyno")))


def _done(names: Iterable[str]) -> Response:
    return reply({"oriel": {"dynos": list(names)}}, 202)


DOORS = (
    Door("GET", "/apps/{app}/dynos", show_all),
    Door("DELETE", "/apps/{app}/dynos", restart_all),
    Door("GET", "/apps/{app}/dynos/{dyno}", show),
    Door("DELETE", "/apps/{app}/dynos/{dyno}", restart),
    Door("POST", "/apps/{app}/dynos/{dyno}/actions/stop", stop),
    Door("DELETE", "/apps/{app}/formations/{dyno}", restart),
    Door("POST", "/apps/{app}/formations/{dyno}/actions/stop", stop),
)
