"""Owns how an app's web dynos show that they are up, and how long they may take to."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy import Connection

from oriel import faults
from oriel.control import access, record, running
from oriel.control.world import World
from oriel.ledger import App, settings
from oriel.lexicon import Actor

PATH_MAX = 1000
BOOT_TIMEOUT_MIN_S = 5
BOOT_TIMEOUT_MAX_S = 600

_PATH = re.compile(r"/[!-~]*")


@dataclass(frozen=True, slots=True)
class AppCheck:
    """An app's check as it counts now."""

    app: str
    path: str | None
    """None: a web dyno is up when its port accepts a connection."""
    boot_timeout_s: int
    is_default: bool


async def check(world: World, actor: Actor, app: str) -> AppCheck:
    """The app's check."""

    def work(conn: Connection) -> AppCheck:
        found = access.find(conn, actor, app)
        return _check(found, settings.check(conn, found.id))

    return await world.db.read(work)


async def set_check(
    world: World,
    actor: Actor,
    app: str,
    *,
    path: str | None = None,
    boot_timeout_s: int | None = None,
) -> AppCheck:
    """Change the path, the boot time-out, or both. Counts for web dynos that start from now on."""

    def work(conn: Connection) -> tuple[App, AppCheck]:
        found = access.find(conn, actor, app)
        if path is None and boot_timeout_s is None:
            raise faults.Invalid(
                "Nothing to change of the check.",
                hint="Say what to ask for, as in: oriel checks:set --path /health",
                app=found.name,
            )
        before = settings.check(conn, found.id) or _default()
        wanted = settings.CheckSetting(
            _path(path) if path is not None else before.path,
            _seconds(boot_timeout_s) if boot_timeout_s is not None else before.boot_timeout_s,
        )
        settings.set_check(conn, found.id, wanted, world.clock.wall())
        detail = {"path": wanted.path, "boot_timeout_s": wanted.boot_timeout_s}
        words = f"{wanted.path or 'port'} within {wanted.boot_timeout_s} s"
        record.act(conn, world, actor, found, "checks:set", detail, [f"Set check {words}"])
        return found, _check(found, wanted)

    found, changed = await world.db.write(work)
    await running.apply(world, found.id, actor)
    return changed


async def unset_check(world: World, actor: Actor, app: str) -> AppCheck:
    """Back to the port alone, and 60 seconds. Twice is the same as once."""

    def work(conn: Connection) -> App:
        found = access.find(conn, actor, app)
        if settings.check(conn, found.id) is not None:
            settings.unset_check(conn, found.id)
            record.act(conn, world, actor, found, "checks:unset", {}, ["Unset check"])
        return found

    found = await world.db.write(work)
    await running.apply(world, found.id, actor)
    return _check(found, None)


def _default() -> settings.CheckSetting:
    return settings.CheckSetting("", running.BOOT_TIMEOUT_S)


def _check(app: App, kept: settings.CheckSetting | None) -> AppCheck:
    counts = kept or _default()
    return AppCheck(app.name, counts.path or None, counts.boot_timeout_s, kept is None)


def _path(text: str) -> str:
    if not _PATH.fullmatch(text) or len(text) > PATH_MAX:
        raise faults.Invalid(
            f"{text[:60]!r} is not a path to ask for.",
            hint="A path begins with / and has no spaces, as in: oriel checks:set --path /health",
        )
    return text


def _seconds(number: int) -> int:
    if not BOOT_TIMEOUT_MIN_S <= number <= BOOT_TIMEOUT_MAX_S:
        raise faults.Invalid(
            f"A boot time-out of {number} s is not possible: "
            f"use {BOOT_TIMEOUT_MIN_S} s to {BOOT_TIMEOUT_MAX_S // 60} min."
        )
    return number
