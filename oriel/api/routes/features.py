"""Owns the doors to an app's features."""

from __future__ import annotations

from starlette.responses import Response

from oriel import faults
from oriel.api import representations
from oriel.api.doors import Call, Door, reply
from oriel.control import features


async def show_all(call: Call) -> Response:
    """Every feature, on or off."""
    found = await features.features(call.world, call.actor, call.path("app"))
    return reply([representations.feature(each) for each in found])


async def show(call: Call) -> Response:
    """One feature, by name or id."""
    found = await features.feature(call.world, call.actor, call.path("app"), call.path("feature"))
    return reply(representations.feature(found))


async def change(call: Call) -> Response:
    """Switch a feature on or off: `enabled`."""
    enabled = call.body.optional_flag("enabled")
    if enabled is None:
        raise faults.Invalid("Say whether the feature is to be on.", hint='{"enabled": true}')
    made = await features.set_feature(
        call.world, call.actor, call.path("app"), call.path("feature"), enabled
    )
    return reply(representations.feature(made))


DOORS = (
    Door("GET", "/apps/{app}/features", show_all),
    Door("GET", "/apps/{app}/features/{feature}", show),
    Door("PATCH", "/apps/{app}/features/{feature}", change),
)
