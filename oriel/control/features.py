"""Owns what an app can switch on that is off by itself. What a feature does is where it is used.

If you add one: name it in `FEATURES` with what it does, and in docs/commands.md.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from oriel import faults
from oriel.control import access, record, running
from oriel.control.world import World
from oriel.ledger import App, settings
from oriel.lexicon import Actor

FEATURES: Mapping[str, str] = {
    settings.PREBOOT: (
        "Web dynos of a new release come up before the old ones go; if none does, the old ones "
        "stay and the release has failed."
    ),
    settings.DAILY_CYCLING: (
        "Each dyno is replaced once a day: after 24 hours and up to 216 minutes more."
    ),
    settings.HTTPS_REDIRECT: (
        "Requests without TLS are sent to https (301, or 308 for what is no GET), where the "
        "platform serves apps with TLS."
    ),
}
"""By name, what each one does."""


@dataclass(frozen=True, slots=True)
class AppFeature:
    """A feature as an app has it."""

    id: str
    name: str
    description: str
    enabled: bool
    created_at: datetime
    updated_at: datetime


async def features(world: World, actor: Actor, app: str) -> list[AppFeature]:
    """Every feature, as the app has it."""

    def work(conn: Connection) -> list[AppFeature]:
        found = access.find(conn, actor, app)
        return [_feature(conn, found, name) for name in FEATURES]

    return await world.db.read(work)


async def feature(world: World, actor: Actor, app: str, name: str) -> AppFeature:
    """One feature, by name or id; NotFound."""

    def work(conn: Connection) -> AppFeature:
        found = access.find(conn, actor, app)
        return _feature(conn, found, _known(found, name))

    return await world.db.read(work)


async def set_feature(world: World, actor: Actor, app: str, name: str, enabled: bool) -> AppFeature:
    """Switch a feature on or off. Twice is the same as once."""

    def work(conn: Connection) -> tuple[App, AppFeature]:
        found = access.find(conn, actor, app)
        known = _known(found, name)
        if settings.has_feature(conn, found.id, known) != enabled:
            now = world.clock.wall()
            settings.set_feature(conn, found.id, known, enabled, now)
            word = "Enable" if enabled else "Disable"
            verb = f"features:{word.lower()}"
            line = f"{word} feature {known}"
            record.act(conn, world, actor, found, verb, {"feature": known}, [line])
        return found, _feature(conn, found, known)

    found, changed = await world.db.write(work)
    await running.apply(world, found.id, actor)
    return changed


def _known(app: App, wanted: str) -> str:
    for name in FEATURES:
        if wanted in (name, _id(app, name)):
            return name
    raise faults.NotFound(
        f"There is no feature {wanted[:60]}.",
        hint=f"There are: {', '.join(FEATURES)}. See them with: oriel features -a {app.name}",
        resource="app_feature",
        app=app.name,
    )


def _feature(conn: Connection, app: App, name: str) -> AppFeature:
    switched = settings.features(conn, app.id).get(name)
    return AppFeature(
        id=_id(app, name),
        name=name,
        description=FEATURES[name],
        enabled=switched is not None and switched.enabled,
        created_at=app.created_at,
        updated_at=switched.at if switched else app.created_at,
    )


def _id(app: App, name: str) -> str:
    return str(uuid.uuid5(uuid.UUID(app.id), f"feature {name}"))
