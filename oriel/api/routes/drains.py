"""Owns the doors to log drains. A drain is named by its id, its token, or its URL, encoded."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from oriel.api.doors import Call, Door, reply
from oriel.api.representations import exact, moment
from oriel.control import drains


def log_drain(it: drains.Drain) -> dict[str, Any]:
    """A drain as Heroku has it; how it is, beside it. No secret of its URL is in it."""
    return {
        "addon": None,
        "app": {"id": it.app_id, "name": it.app},
        "created_at": moment(it.created_at),
        "id": it.id,
        "token": it.token,
        "updated_at": moment(it.created_at),
        "url": it.url,
        "oriel": {
            "answer": it.answer,
            "answered_at": exact(it.answered_at) if it.answered_at else None,
            "delivered": it.delivered,
            "lag": {"bytes": it.lag_bytes, "lines": it.lag_lines, "seconds": it.lag_s},
            "lost": it.lost,
            "retries": it.retries,
            "since": exact(it.state_since),
            "state": it.state,
        },
    }


async def show_all(call: Call) -> Response:
    """An app's log drains."""
    found = await drains.list_drains(call.world, call.actor, call.path("app"))
    return reply([log_drain(each) for each in found])


async def add(call: Call) -> Response:
    """Add a log drain."""
    url = call.body.text("url", hint='Give one, as in {"url": "syslog+tls://logs.example.com"}.')
    made = await drains.add_drain(call.world, call.actor, call.path("app"), url)
    return reply(log_drain(made), 201)


async def show(call: Call) -> Response:
    """One log drain."""
    it = await drains.drain(call.world, call.actor, call.path("app"), _name(call))
    return reply(log_drain(it))


async def remove(call: Call) -> Response:
    """Remove a log drain."""
    it = await drains.remove_drain(call.world, call.actor, call.path("app"), _name(call))
    return reply(log_drain(it))


async def test(call: Call) -> Response:
    """Send one line to a log drain's receiver, and answer what came of it."""
    app = call.path("app")
    said = await drains.test_drain(call.world, call.actor, app, call.path("drain"))
    return reply(
        {
            "answer": said.answer,
            "drain": log_drain(said.drain),
            "seconds": said.took_s,
            "taken": said.taken,
        }
    )


async def replay(call: Call) -> Response:
    """Send again what was said `since` a time, an age or a release."""
    since = call.body.text("since", hint='Give one, as in {"since": "2h"} or {"since": "v74"}.')
    app = call.path("app")
    said = await drains.replay_drain(call.world, call.actor, app, call.path("drain"), since)
    return reply({"drain": log_drain(said.drain), "lines": said.lines})


def _name(call: Call) -> str:
    """The name in the path; a URL's query, where a client forgot to encode it, belongs to it."""
    query = call.request.url.query
    return call.path("drain") + (f"?{query}" if query else "")


DOORS = (
    Door("GET", "/apps/{app}/log-drains", show_all),
    Door("POST", "/apps/{app}/log-drains", add),
    Door("GET", "/apps/{app}/log-drains/{drain:path}", show),
    Door("DELETE", "/apps/{app}/log-drains/{drain:path}", remove),
    Door("POST", "/oriel/apps/{app}/log-drains/{drain}/actions/test", test),
    Door("POST", "/oriel/apps/{app}/log-drains/{drain}/actions/replay", replay),
)
