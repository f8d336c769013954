"""Owns the doors to logs: opening a session, and reading one by the URL that it gave."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from oriel import faults
from oriel.api import faults as table
from oriel.api import representations
from oriel.api.doors import Call, Door, reply
from oriel.api.streams import Streams
from oriel.control import logs, releases
from oriel.control.world import World

POSITION_MAX = 200


async def open_session(call: Call) -> Response:
    """A session; `dyno` may be a name, or a process type."""
    body = call.body
    session = await logs.open_session(
        call.world,
        call.actor,
        call.path("app"),
        lines=body.optional_number("lines"),
        tail=bool(body.optional_flag("tail")),
        source=body.optional_text("source"),
        dyno=body.optional_text("dyno")
        or body.optional_text("dyno_name")
        or body.optional_text("type"),
        format=body.optional_text("format") or "text",
        narrow=logs.Narrow(
            since=body.optional_text("since") or "",
            until=body.optional_text("until") or "",
            grep=body.optional_text("grep") or "",
            regex=bool(body.optional_flag("regex")),
            release=body.optional_text("release") or "",
            raw=bool(body.optional_flag("raw")),
        ),
    )
    return reply(representations.log_session(session), 201)


class SessionStream:
    """Reading a session: as Server-Sent Events for who accepts them, as plain text else."""

    def __init__(self, world: World, streams: Streams) -> None:
        """The streams are counted together."""
        self._world = world
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer until the session ends or its reader goes."""
        request = only_get(scope)
        headers = Headers(scope=scope)
        after = headers.get("last-event-id") or None
        if after is not None and (len(after) > POSITION_MAX or not after.isascii()):
            raise faults.BadRequest("Last-Event-ID is not a position of this stream.")
        capability = str(request.path_params["capability"])
        reading = await logs.read_session(self._world, capability, after)
        if "text/event-stream" in headers.get("accept", ""):
            await self._streams.events(
                reading.batches, tail=reading.tail, raw=reading.raw, receive=receive, send=send
            )
        else:
            await self._streams.plain(reading.batches, receive=receive, send=send)


class OutputStream:
    """Reading what a release command says, while it says it."""

    def __init__(self, world: World, streams: Streams) -> None:
        """The streams are counted together."""
        self._world = world
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer until the command has ended or its reader goes."""
        request = only_get(scope)
        pieces = await releases.output(self._world, str(request.path_params["capability"]))
        await self._streams.text(pieces, receive=receive, send=send)


def only_get(scope: Scope) -> Request:
    """The request, if it is a GET; the whole URL is the permission, so it is never quoted."""
    if scope["method"] != "GET":
        raise table.MethodUnknown(scope["method"], "", ["GET"])
    return Request(scope)


DOORS = (Door("POST", "/apps/{app}/log-sessions", open_session),)
