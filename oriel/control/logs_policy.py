"""Owns what users set about an app's log: how much and how long it keeps, and what a flood costs.

The settings are the log channel's own, kept by logplex; what is changed is an act.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from oriel import faults
from oriel.control import access, record
from oriel.control.world import World
from oriel.lexicon import Actor

FLOODS = ("drop", "block")
BYTES_MIN = 64 * 1024
SECONDS_MIN = 60


@dataclass(frozen=True, slots=True)
class LogPolicy:
    """The settings of an app's log, and how much of it there is."""

    app: str
    max_bytes: int
    max_age_s: int
    flood: str
    rate_bytes: int
    bytes: int
    segments: int
    since_us: int


@dataclass(frozen=True, slots=True)
class LogDamage:
    """What of an app's log cannot be read any more."""

    what: str
    segment: int
    lines: int | None
    bytes: int
    first_us: int
    last_us: int


@dataclass(frozen=True, slots=True)
class LogCheck:
    """What looking at an app's whole log found."""

    segments: int
    damage: tuple[LogDamage, ...]


async def policy(world: World, actor: Actor, app: str) -> LogPolicy:
    """The settings of the app's log."""
    found = await access.app_of(world, actor, app)
    return _policy(found.name, await world.logplex.policy(found.channel))


async def set_policy(
    world: World,
    actor: Actor,
    app: str,
    *,
    max_bytes: int | None = None,
    max_age_s: int | None = None,
    flood: str | None = None,
    rate_bytes: int | None = None,
) -> LogPolicy:
    """Change some settings of the app's log. What is beyond a new limit goes within seconds."""
    found = await access.app_of(world, actor, app)
    wish: dict[str, Any] = {
        "max_bytes": max_bytes,
        "max_age_s": max_age_s,
        "flood": flood,
        "rate_bytes": rate_bytes,
    }
    wish = {key: value for key, value in wish.items() if value is not None}
    if not wish:
        raise faults.Invalid("Nothing to change of the log.", app=found.name)
    # Logplex first: it refuses what cannot be, and the same again does no harm.
    made = _policy(found.name, await world.logplex.policy(found.channel, wish))

    def work(conn: Connection) -> None:
        words = ", ".join(f"{key}={value}" for key, value in wish.items())
        record.act(conn, world, actor, found, "logs:policy", wish, [f"Log policy {words}"])

    await world.db.write(work)
    return made


async def check(world: World, actor: Actor, app: str) -> LogCheck:
    """Look at every finished segment of the app's log, checksums and all."""
    found = await access.app_of(world, actor, app)
    done = await world.logplex.check(found.channel)
    return LogCheck(
        int(done["segments"]),
        tuple(
            LogDamage(
                str(each["what"]),
                int(each["segment"]),
                each["lines"],
                int(each["bytes"]),
                int(each["first_us"]),
                int(each["last_us"]),
            )
            for each in done["damage"]
        ),
    )


def _policy(app: str, told: dict[str, Any]) -> LogPolicy:
    kept = told["policy"]
    return LogPolicy(
        app,
        int(kept["max_bytes"]),
        int(kept["max_age_s"]),
        str(kept["flood"]),
        int(kept["rate_bytes"]),
        int(told["bytes"]),
        int(told["segments"]),
        int(told["since_us"]),
    )
