"""Owns the API as a whole: every door, git and the streams behind one guard.

`build(world)` is all that `house` needs. Must not know what any part does.
"""

from __future__ import annotations

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from oriel import faults
from oriel.api import faults as table
from oriel.api.doors import Door, request_id, routes
from oriel.api.git import PATH as GIT_PATH
from oriel.api.git import Git
from oriel.api.guard import Guard
from oriel.api.repeats import Repeats
from oriel.api.routes import (
    access,
    accounts,
    apps,
    builds,
    catalogue,
    certs,
    checks,
    config,
    domains,
    drains,
    dynos,
    features,
    formation,
    logs,
    logs_policy,
    looking,
    releases,
)
from oriel.api.streams import Streams
from oriel.control.world import World

DOORS: tuple[Door, ...] = (
    *apps.DOORS,
    *config.DOORS,
    *releases.DOORS,
    *formation.DOORS,
    *dynos.DOORS,
    *looking.DOORS,
    *features.DOORS,
    *checks.DOORS,
    *logs.DOORS,
    *drains.DOORS,
    *domains.DOORS,
    *certs.DOORS,
    *logs_policy.DOORS,
    *builds.DOORS,
    *access.DOORS,
    *accounts.DOORS,
    *catalogue.DOORS,
)

STREAMS = ("/log-sessions/{capability}", "/release-outputs/{capability}")


def build(world: World) -> ASGIApp:
    """The ASGI application that answers for `world`."""
    streams = Streams()
    router = Router(
        [
            *routes(world, DOORS, Repeats(world.clock)),
            Route(STREAMS[0], logs.SessionStream(world, streams)),
            Route(STREAMS[1], logs.OutputStream(world, streams)),
        ],
        redirect_slashes=False,
        default=_nowhere,
    )
    git = Git(world)

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        is_git = scope["type"] == "http" and GIT_PATH.fullmatch(scope["path"])
        await (git if is_git else router)(scope, receive, send)

    return Guard(inner, world.settings.known_hosts)


async def _nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    """The answer where there is no door at all."""
    problem = faults.NotFound("There is nothing at this path.")
    await table.answer(problem, request_id(scope))(scope, receive, send)
