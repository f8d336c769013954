"""Owns the first minutes of control: it finishes or undoes what a kill interrupted.

The ledger decides: a release that was appended is done, so its dynos are brought up; a release
command that was running cannot be told from one that half ran, so its release is failed and the
head stays, and so is a release whose web dynos were not yet known to be up (preboot); a build that
was running is failed. Must not know how any of these is begun.
"""

from __future__ import annotations

from sqlalchemy import Connection

from oriel.control import apps, drains, record, running
from oriel.control.world import World
from oriel.ledger import apps as ledger_apps
from oriel.ledger import releases
from oriel.lexicon import PLATFORM, RELEASE_TYPE


async def recover(world: World) -> None:
    """Bring the world back to what the ledger says. Twice is the same as once."""
    await world.builder.recover(world.db)
    await world.db.write(lambda conn: _fail_pending(conn, world))
    for app in await world.db.read(ledger_apps.destroyed):
        if apps.remains(world, app):
            await apps.sweep(world, app)
    await drains.settle(world)
    await running.apply_all(world)


def _fail_pending(conn: Connection, world: World) -> None:
    for release in releases.all_pending(conn):
        app = ledger_apps.by_name_or_id(conn, release.app_id)
        commands = RELEASE_TYPE in release.process_types
        what = (
            f"Release v{release.version} command" if commands else f"Preboot of v{release.version}"
        )
        text = f"{what} failed by {PLATFORM.email}"
        record.say(conn, world, app, "api", text, release=release.version)
        doing = "its release command ran" if commands else "its web dynos came up"
        reason = f"the platform was stopped while {doing}"
        releases.settle(conn, release, "failed", reason, world.clock.wall(), vault=world.vault)
