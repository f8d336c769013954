"""Owns log sessions: who may read which app's channel, from where, for how long.

Must not know segments, or how lines are rendered; logplex reads, the API streams.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from oriel import faults
from oriel.clock import new_id
from oriel.control import access, capability, moments, when
from oriel.control.world import World
from oriel.ledger import App, apps
from oriel.lexicon import Actor
from oriel.logplex.client import Batch, Query
from oriel.logplex.query import GREP_MAX
from oriel.people import memberships

LINES_DEFAULT = 100
LINES_MAX = 100_000
SESSION_LIVES = timedelta(minutes=5)
"""How long the URL of a session opens, where it only reads what there is."""
TAIL_LIVES = timedelta(hours=24)
"""The same for a tail, which comes back to its URL after a break of the network."""

_PURPOSE = "log-session"
_API_PS = "api"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_Named = Callable[[Connection, App, str, datetime], datetime]
_NARROW = ("since_us", "until_us", "grep", "regex", "release", "raw")


@dataclass(frozen=True, slots=True)
class LogSession:
    """A way to read an app's channel without a token: whoever has the URL may."""

    id: str
    url: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Narrow:
    """Which part of a log, beyond whose. Times as `moments` has them, or releases as `v74`."""

    since: str = ""
    until: str = ""
    grep: str = ""
    regex: bool = False
    release: str = ""
    raw: bool = False


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
    narrow: Narrow | None = None,
) -> LogSession:
    """A session on the app's channel: the last `lines` lines that pass the filters, then, with
    `tail`, each new one. `dyno` is a name, a type, or several with commas between them.

    Without `lines` it is the last 100, or all of them where `narrow` says since when.
    """
    found = await access.app_of(world, actor, app)
    narrow = narrow or Narrow()
    if format not in ("text", "json"):
        raise faults.Invalid(f"Log format {format[:20]!r} is not known: use text or json.")
    number = lines
    if lines is None and not narrow.since:
        number = LINES_DEFAULT
    if number is not None and not 0 <= number <= LINES_MAX:
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
        **await _narrowed(world, found, narrow, now, tail=tail),
    }
    lives = TAIL_LIVES if tail else SESSION_LIVES
    text = capability.issue(world.vault, _PURPOSE, claims, now, lives)
    url = f"{world.settings.api_url}/log-sessions/{text}"
    return LogSession(id=new_id(), url=url, created_at=now)


async def _narrowed(
    world: World, app: App, narrow: Narrow, now: datetime, *, tail: bool
) -> dict[str, Any]:
    """The claims for the part of a log that is asked for; only those that differ from nothing."""
    if narrow.until and tail:
        raise faults.Invalid("A tail has no end.", hint="Leave out --until, or leave out --tail.")
    # It goes into the session's URL, where other alphabets take more room.
    if len(json.dumps(narrow.grep)) > GREP_MAX + 2 or "\n" in narrow.grep:
        raise faults.Invalid(f"What to search for is at most {GREP_MAX} characters of one line.")
    since = await _at(world, when.begin_of, app, narrow.since, now) if narrow.since else None
    claims: dict[str, Any] = {}
    if narrow.release:
        number = moments.release_of(narrow.release)
        if number is None:
            raise faults.Invalid(f"{narrow.release[:20]!r} is no release; they are called v1, v2.")
        begun = await _at(world, when.begin_of, app, f"v{number}", now)
        claims["release"] = number
        since = max(since, begun) if since else begun
    if narrow.until:
        until = await _at(world, when.end_of, app, narrow.until, now)
        claims["until_us"] = max(0, _us(until))
    if since:
        claims["since_us"] = max(0, _us(since))
    if narrow.grep:
        claims["grep"] = narrow.grep
        claims["regex"] = narrow.regex
    if narrow.raw:
        claims["raw"] = True
    return claims


async def _at(world: World, named: _Named, app: App, text: str, now: datetime) -> datetime:
    return await world.db.read(lambda conn: named(conn, app, text, now))


def _us(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _sources(source: str | None, ps: tuple[str, ...]) -> tuple[str, ...]:
    # The API's lines were `heroku[api]` until 2016 and are `app[api]` since (heroku-facts A2):
    # both ways to ask for them give the same.
    if not source or (ps == (_API_PS,) and source in ("app", "heroku")):
        return ()
    return (source,)


@dataclass(frozen=True, slots=True)
class Reading:
    """A session that is being read: its batches, and what to know of them."""

    tail: bool
    raw: bool
    batches: AsyncIterator[Batch]


async def read_session(world: World, text: str, after: str | None) -> Reading:
    """A session's batches: from the beginning, or after a position.

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
        **{key: claims[key] for key in _NARROW if key in claims},
    )
    return Reading(query.tail, query.raw, world.logplex.read(found.channel, query))
