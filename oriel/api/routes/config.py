"""Owns the doors to config vars."""

from __future__ import annotations

from starlette.responses import Response

from oriel import faults
from oriel.api import representations
from oriel.api.doors import Call, Door, reply
from oriel.control import config


async def show(call: Call) -> Response:
    """The config of an app's head release."""
    values = await config.config_vars(call.world, call.actor, call.path("app"))
    return reply(representations.config(values))


async def change(call: Call) -> Response:
    """Set vars, and remove those whose value is null."""
    changes = call.body.values
    if not changes:
        raise faults.Invalid(
            "No config vars were given.", hint='Give some, as in {"KEY": "value"}.'
        )
    for key, value in changes.items():
        if value is not None and not isinstance(value, str):
            raise faults.Invalid(f'"{key[:60]}" has to be text, or null to remove it.')
    values, _ = await config.set_config(call.world, call.actor, call.path("app"), changes)
    return reply(representations.config(values))


DOORS = (
    Door("GET", "/apps/{app}/config-vars", show),
    Door("PATCH", "/apps/{app}/config-vars", change),
)
