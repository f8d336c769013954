"""Owns how a deed is written down: the act, and the `heroku[api]` lines that render it.

Both go into the transaction of the change itself, so that neither can be without the other
(design: Four records). Must not know what the deed was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from oriel.control.world import World
from oriel.ledger import App, Release, acts
from oriel.lexicon import Actor
from oriel.store import outbox


def act(
    conn: Connection,
    world: World,
    actor: Actor,
    app: App | None,
    verb: str,
    detail: Mapping[str, Any],
    lines: Sequence[str] = (),
) -> int:
    """Append the act and say each of `lines` as ` by EMAIL` in the app's channel.

    Returns the act's id.
    """
    now = world.clock.wall()
    act_id = acts.append(conn, actor, app.id if app else None, verb, detail, now)
    if app:
        for text in lines:
            say(conn, world, app, "api", f"{text} by {actor.email}", {"act": str(act_id)})
    return act_id


def release_created(
    conn: Connection, world: World, actor: Actor, app: App, release: Release
) -> None:
    """Say `Release vN created by EMAIL`, with the short MAC by which a cut ledger is found."""
    data = {"act": str(release.act_id), "release": str(release.version), "mac": release.short}
    text = f"Release v{release.version} created by {actor.email}"
    say(conn, world, app, "api", text, data, release.version)


def say(
    conn: Connection,
    world: World,
    app: App,
    ps: str,
    text: str,
    data: Mapping[str, str] | None = None,
    release: int = 0,
) -> None:
    """Post one line of the platform's own to the app's channel."""
    line = outbox.Line(
        channel=app.channel, source="heroku", ps=ps, text=text, release=release, data=data or {}
    )
    outbox.post(conn, line, world.clock.wall())
