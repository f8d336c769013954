"""Owns log sessions: who may read which app's channel, from where, for how long.

Must not know segments, or how lines are rendered; logplex reads, the API streams.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from oriel import faults
from oriel.clock import new_id
from oriel.control import access, capability
from oriel.control.world import World
from oriel.ledger import App, apps
from oriel.lexicon import Actor
from oriel.logplex.client import Batch, Query
from oriel.people import memberships

LINES_DEFAULT = 100
LINES_MAX = 100_000
SESSION_LIVES = timedelta(minutes=5)
"""How long the URL of a session opens, where it only reads what there is."""
TAIL_LIVES = timedelta(hours=24)
"""The same for a tail, which comes back to its URL after a break of the network."""

_PURPOSE = "log-session"
_API_PS = "api"


@dataclass(frozen=True, slots=True)
class LogSession:
    """A way to read an app's channel without a token: whoever has the URL may."""

    id: str
    url: str
    created_at: datetime


async def open_session(
    world: World,
    actor: Actor,
    app: str,
    *,
    lines: int | None,
    tail: bool,
    source: str | None,
    dyno: str | None,
    format: str = "text",
) -> LogSession:
    """A session on the app's channel: the last `lines` lines that pass the filters, then, with
    `tail`, each new one. `dyno` is a name, a type, or several with commas between them.
    """
    found = await access.app_of(world, actor, app)
    if format not in ("text", "json"):
        raise faults.Invalid(f"Log format {format[:20]!r} is not known: use text or json.")
    number = LINES_DEFAULT if lines is None else lines
    if not 0 <= number <= LINES_MAX:
        raise faults.Invalid(f"Number of lines {number} is not allowed: use 0 to {LINES_MAX}.")
    wanted = tuple(part.strip() for part in (dyno or "").split(",") if part.strip())
    now = world.clock.wall()
    claims = {
        "app": found.id,
        "account": actor.account_id,
        "lines": number,
        "tail": tail,
        "sources": list(_sources(source, wanted)),
        "ps": list(wanted),
        "format": format,
    }
    lives = TAIL_LIVES if tail else SESSION_LIVES
    text = capability.issue(world.vault, _PURPOSE, claims, now, lives)
    url = f"{world.settings.api_url}/log-sessions/{text}"
    return LogSession(id=new_id(), url=url, created_at=now)


def _sources(source: str | None, ps: tuple[str, ...]) -> tuple[str, ...]:
    # The API's lines were `heroku[api]` until 2016 and are `app[api]` since (heroku-facts A2):
    # both ways to ask for them give the same.
    if not source or (ps == (_API_PS,) and source in ("app", "heroku")):
        return ()
    return (source,)


async def read_session(
    world: World, text: str, after: str | None
) -> tuple[bool, AsyncIterator[Batch]]:
    """Whether the session is a tail, and its batches: from the beginning, or after a position.

    Raises NotFound when the capability is forged, expired, or its owner has lost the app.
    """
    claims = capability.redeem(world.vault, _PURPOSE, text, world.clock.wall())

    def work(conn: Connection) -> App:
        if not memberships.may(conn, claims["account"], claims["app"]):
            raise access.no_such_app()
        return apps.by_name_or_id(conn, claims["app"])

    found = await world.db.read(work)
    query = Query(
        lines=claims["lines"],
        tail=claims["tail"],
        after=after,
        sources=tuple(claims["sources"]),
        ps=tuple(claims["ps"]),
        format=claims["format"],
    )
    return claims["tail"], world.logplex.read(found.channel, query)
