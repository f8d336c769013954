"""Owns the doors to what Heroku lists and Oriel has one or none of (yet).

An empty list is an honest answer, and it keeps the official command line going: `apps:info`
wants to know the add-ons of every app.
"""

from __future__ import annotations

from starlette.responses import Response

from oriel import faults
from oriel.api import representations
from oriel.api.doors import Call, Door, reply
from oriel.control import access


async def regions(call: Call) -> Response:
    """The places where apps run: one."""
    return reply([representations.region()])


async def region(call: Call) -> Response:
    """A region, by name or id."""
    shown = representations.region()
    if call.path("region") not in (shown["name"], shown["id"]):
        raise faults.NotFound("Couldn't find that region.", resource="region")
    return reply(shown)


async def none(call: Call) -> Response:
    """None of these."""
    return reply([])


async def none_of_app(call: Call) -> Response:
    """None of these, on an app that has to be there."""
    await access.app_of(call.world, call.actor, call.path("app"))
    return reply([])


async def no_feature(call: Call) -> Response:
    """No such feature: accounts have none."""
    raise faults.NotFound("Couldn't find that feature.", resource="feature")


async def no_pipeline(call: Call) -> Response:
    """No app is in a pipeline."""
    app = await access.app_of(call.world, call.actor, call.path("app"))
    raise faults.NotFound(
        f"{app.name} is in no pipeline.", resource="pipeline_coupling", app=app.name
    )


_EMPTY = (
    "/account/features",
    "/account/keys",
    "/addon-attachments",
    "/addons",
    "/pipelines",
    "/teams",
)
_EMPTY_OF_APP = (
    "addon-attachments",
    "addons",
    "buildpack-installations",
)

DOORS = (
    Door("GET", "/regions", regions),
    Door("GET", "/regions/{region}", region),
    *[Door("GET", path, none) for path in _EMPTY],
    *[Door("GET", f"/apps/{{app}}/{noun}", none_of_app) for noun in _EMPTY_OF_APP],
    Door("GET", "/account/features/{feature}", no_feature),
    Door("GET", "/apps/{app}/pipeline-couplings", no_pipeline),
)
