"""Owns the doors to builds and their transcripts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.responses import Response, StreamingResponse

from oriel.api import ranges, representations
from oriel.api.doors import Call, Door, reply, reply_page
from oriel.builder import Build
from oriel.control import access, deploy
from oriel.ledger import App

PIECE_BYTES = 64 * 1024

_KEYS = {"id": lambda build: build.id, "created_at": lambda build: build.created_at}


async def show_all(call: Call) -> Response:
    """The newest builds of an app, newest first."""
    wanted = ranges.parse(call.request.headers.get("range"), ("id",), order="desc")
    app = await access.app_of(call.world, call.actor, call.path("app"))
    found = await deploy.list_builds(call.world, call.actor, app.id, deploy.BUILDS_MAX)
    page: ranges.Page[Build] = ranges.page(found, wanted, _KEYS, sort=False)
    return reply_page(page, lambda build: _shown(call, app, build))


async def show(call: Call) -> Response:
    """One build."""
    app = await access.app_of(call.world, call.actor, call.path("app"))
    build = await deploy.build(call.world, call.actor, app.id, call.path("build"))
    return reply(_shown(call, app, build))


async def output(call: Call) -> Response:
    """What a build said, as far as it has got."""
    path = await deploy.build_output(call.world, call.actor, call.path("app"), call.path("build"))
    return StreamingResponse(_pieces(path), media_type="text/plain; charset=utf-8")


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    """The file up to where it ends now; nothing where it does not exist yet."""
    try:
        file = await asyncio.to_thread(path.open, "rb")
    except FileNotFoundError:
        return
    with file:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece


def _shown(call: Call, app: App, build: Build) -> representations.Json:
    url = f"{call.world.settings.api_url}/apps/{app.name}/builds/{build.id}/output"
    return representations.build(build, app.name, app.stack, url)


DOORS = (
    Door("GET", "/apps/{app}/builds", show_all),
    Door("GET", "/apps/{app}/builds/{build}", show),
    Door("GET", "/apps/{app}/builds/{build}/output", output),
)
