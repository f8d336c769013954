"""Owns the door to the sum of an app's errors."""

from __future__ import annotations

from starlette.responses import Response

from oriel.api.doors import Call, Door, reply
from oriel.control import errors


async def index(call: Call) -> Response:
    """The app's H, R and L codes `?since=` a time, an age (24h) or a release: how often, where."""
    found = await errors.errors(call.world, call.actor, call.path("app"), call.query("since") or "")
    return reply(
        {
            "app": found.app,
            "since": found.since,
            "whole": found.whole,
            "errors": [
                {
                    "code": each.code,
                    "description": each.description,
                    "count": each.count,
                    "first": each.first,
                    "last": each.last,
                    "dynos": dict(each.dynos.most_common()),
                    "path": each.path or None,
                }
                for each in found.troubles
            ],
        }
    )


DOORS = (Door("GET", "/oriel/apps/{app}/errors", index),)
