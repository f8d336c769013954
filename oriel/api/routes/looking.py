"""Owns the doors to what Oriel says of dynos beyond Heroku: a held request for the next change, a
card, transitions, why, and the sizes there are.
"""

from __future__ import annotations

from starlette.responses import Response

from oriel import faults
from oriel.api import portraits
from oriel.api.doors import Call, Door, reply
from oriel.control import access, card, dynos, history, why_story
from oriel.manifold import sizes as all_sizes

TAG_MAX = 64


async def watch(call: Call) -> Response:
    """The dynos and the head, as soon as they are not as `after` says, or `wait_s` is over."""
    app = await access.app_of(call.world, call.actor, call.path("app"))
    after = (call.query("after") or "")[:TAG_MAX]
    wait_s = float(_number(call, "wait_s", 0))
    seen = await dynos.watch(call.world, call.actor, app.id, after, wait_s)
    return reply(portraits.snapshot(seen, app.name))


async def show(call: Call) -> Response:
    """One dyno, with its restarts, what it takes, how it ended last, and its last ten lines."""
    app = await access.app_of(call.world, call.actor, call.path("app"))
    found = await card.card(call.world, call.actor, app.id, call.path("dyno"))
    return reply(portraits.card(found, app.name))


async def why(call: Call) -> Response:
    """Why a dyno is as it is, or what became of it."""
    app = await access.app_of(call.world, call.actor, call.path("app"))
    found = await why_story.why(call.world, call.actor, app.id, call.path("dyno"))
    return reply(portraits.why(found))


async def transitions(call: Call) -> Response:
    """What became of the dynos: `ps`, `since`, `until`, `limit`, `before` (an id); newest first."""
    app = await access.app_of(call.world, call.actor, call.path("app"))
    before = call.query("before")
    found = await history.transitions(
        call.world,
        call.actor,
        app.id,
        only=call.query("ps") or None,
        since=call.query("since") or "",
        until=call.query("until") or "",
        before=_number(call, "before", 0) if before else None,
        limit=_number(call, "limit", 50),
    )
    return reply([portraits.transition(each, app.name) for each in found])


async def sizes(call: Call) -> Response:
    """The sizes that a dyno may have."""
    return reply([portraits.size(each) for each in all_sizes.SIZES.values()])


def _number(call: Call, name: str, otherwise: int) -> int:
    """A query parameter that is a whole number, and not negative."""
    text = call.query(name)
    if not text:
        return otherwise
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise faults.Invalid(f'"{name}" has to be a whole number that is not negative.')
    return int(text)


DOORS = (
    Door("GET", "/dyno-sizes", sizes),
    Door("GET", "/oriel/apps/{app}/dynos", watch),
    Door("GET", "/oriel/apps/{app}/dynos/{dyno}", show),
    Door("GET", "/oriel/apps/{app}/dynos/{dyno}/why", why),
    Door("GET", "/oriel/apps/{app}/dyno-events", transitions),
)
