"""Owns the doors to an app's log settings, and to checking it."""

from __future__ import annotations

from dataclasses import asdict

from starlette.responses import Response

from oriel.api.doors import Call, Door, reply
from oriel.control import logs_policy


async def show(call: Call) -> Response:
    """How much and how long the log keeps, and how much there is."""
    found = await logs_policy.policy(call.world, call.actor, call.path("app"))
    return reply(asdict(found))


async def change(call: Call) -> Response:
    """Change some of it: `max_bytes`, `max_age_s`, `flood`, `rate_bytes`."""
    body = call.body
    made = await logs_policy.set_policy(
        call.world,
        call.actor,
        call.path("app"),
        max_bytes=body.optional_number("max_bytes"),
        max_age_s=body.optional_number("max_age_s"),
        flood=body.optional_text("flood"),
        rate_bytes=body.optional_number("rate_bytes"),
    )
    return reply(asdict(made))


async def check(call: Call) -> Response:
    """Look at all of the log on disk; answers what is damaged."""
    done = await logs_policy.check(call.world, call.actor, call.path("app"))
    return reply(asdict(done))


DOORS = (
    Door("GET", "/oriel/apps/{app}/log-policy", show),
    Door("PATCH", "/oriel/apps/{app}/log-policy", change),
    Door("POST", "/oriel/apps/{app}/log-checks", check),
)
