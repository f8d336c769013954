"""Owns config vars: each change of them is a release."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from oriel.control import access, releasing
from oriel.control.world import World
from oriel.ledger import Release, drafts, releases
from oriel.lexicon import Actor, ConfigKey


async def config_vars(world: World, actor: Actor, app: str) -> dict[str, str]:
    """The config of the app's head."""

    def work(conn: Connection) -> dict[str, str]:
        found = access.find(conn, actor, app)
        head = releases.head(conn, found.id)
        return releases.config(world.vault, found, head) if head else {}

    return await world.db.read(work)


async def set_config(
    world: World, actor: Actor, app: str, changes: Mapping[str, str | None]
) -> tuple[dict[str, str], Release | None]:
    """Set the vars of `changes`, remove those whose value is None.

    Returns the whole config, and the release that was made: None when nothing would change.
    """
    checked = {ConfigKey(key): value for key, value in changes.items()}
    found = await access.app_of(world, actor, app)

    def plan(conn: Connection) -> releasing.Intent | None:
        head = releasing.head_state(conn, world, found)
        changed = {key: value for key, value in checked.items() if head.config.get(key) != value}
        if not changed:
            return None
        # The act names keys only: values are nobody's business but the release's.
        detail = {"keys": sorted(changed)}
        return releasing.Intent("config:set", drafts.configure(head, changed), detail)

    made = await releasing.make(world, actor, found, plan)
    return await config_vars(world, actor, found.id), made.release if made else None
