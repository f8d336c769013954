"""Owns what users do to apps as a whole: create, look, rename, destroy, maintenance."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from oriel import faults
from oriel.clock import new_id
from oriel.control import access, domains, names, record
from oriel.control.world import World
from oriel.ledger import App, Release, Slug, apps, drafts, orders, releases, slugs
from oriel.lexicon import Actor, AppName
from oriel.people import memberships

RESERVED_NAMES = frozenset({"api", "oriel"})
"""With a domain, the API answers to these names below it."""

_log = logging.getLogger("oriel.control.apps")


@dataclass(frozen=True, slots=True)
class AppCard:
    """An app and what a user sees at a glance of it. Sizes are in bytes."""

    app: App
    web_url: str
    git_url: str
    slug_size_bytes: int
    repo_size_bytes: int
    released_at: datetime | None
    current: int | None
    """The head's number; None before the first release."""
    language: str
    automatic_certificates: bool = False


async def create_app(world: World, actor: Actor, name: str | None) -> AppCard:
    """Make an app with its ledger (v1 `Initial release`), repository and owner.

    Raises Conflict when the name is taken, Malformed when it cannot be one.
    """
    chosen = _free_word(name) if name else AppName(names.any_name())
    app_id, channel = new_id(), new_id()
    uid = world.settings.uid_base

    def work(conn: Connection) -> App:
        now = world.clock.wall()
        app = apps.create(
            conn,
            world.vault,
            name=chosen,
            owner_id=actor.account_id,
            owner_email=actor.email,
            uid_base=uid,
            uid_fixed=None if uid is not None else os.getuid(),
            now=now,
            app_id=app_id,
            channel=channel,
        )
        memberships.add(conn, app.id, actor.account_id, "owner", actor.email, now)
        draft = drafts.initial()
        lines = [draft.description]
        act_id = record.act(conn, world, actor, app, "apps:create", {"name": chosen}, lines)
        release = releases.append(conn, world.vault, app, draft, actor, act_id, now, "succeeded")
        record.release_created(conn, world, actor, app, release)
        return app

    app = await world.db.write(work)
    # A kill before this line leaves an app without a repository: a push makes it again.
    await world.repositories.create(app.id, app.uid)
    world.reroute()
    return await _card(world, app)


async def app(world: World, actor: Actor, app: str) -> AppCard:
    """One app."""
    return await _card(world, await access.app_of(world, actor, app))


async def list_apps(world: World, actor: Actor) -> list[AppCard]:
    """Every app that the account may touch, by name."""

    def work(conn: Connection) -> list[App]:
        mine = memberships.apps_of(conn, actor.account_id)
        return sorted((each for each in apps.all(conn) if each.id in mine), key=lambda a: a.name)

    return [await _card(world, each) for each in await world.db.read(work)]


async def rename_app(world: World, actor: Actor, app: str, new: str) -> AppCard:
    """Give an app another name; its address and git URL change with it."""
    chosen = _free_word(new)

    def work(conn: Connection) -> App:
        found = access.find(conn, actor, app)
        renamed = apps.rename(conn, found, chosen, world.clock.wall())
        detail = {"from": found.name, "to": chosen}
        record.act(conn, world, actor, renamed, "apps:rename", detail, [f"Rename to {chosen}"])
        return renamed

    renamed = await world.db.write(work)
    await world.routed()
    return await _card(world, renamed)


async def set_maintenance(world: World, actor: Actor, app: str, on: bool) -> AppCard:
    """Answer requests with the maintenance page, or stop doing so. Dynos go on."""

    def work(conn: Connection) -> App:
        found = access.find(conn, actor, app)
        word = "on" if on else "off"
        changed = apps.set_maintenance(conn, found, on, world.clock.wall())
        line = f"Set maintenance mode {word}"
        record.act(conn, world, actor, changed, f"maintenance:{word}", {}, [line])
        return changed

    changed = await world.db.write(work)
    await world.routed()
    return await _card(world, changed)


async def destroy_app(world: World, actor: Actor, app: str) -> AppCard:
    """Take an app away: dynos, code, logs. Its acts and releases stay in the ledger.

    The mark in the ledger is the point of no return; what is left after a kill, `sweep` removes.
    """
    found = await access.app_of(world, actor, app)
    card = await _card(world, found)

    def work(conn: Connection) -> None:
        still = access.find(conn, actor, found.id)
        if still.owner_id != actor.account_id:
            raise faults.Forbidden(
                f"Only its owner, {still.owner_email}, may destroy {still.name}.", app=still.name
            )
        record.act(conn, world, actor, still, "apps:destroy", {"name": still.name})
        domains.forget_app(conn, still.id)
        apps.destroy(conn, still, world.clock.wall())

    async with world.gates.change(found.id, found.name):
        await world.db.write(work)
        try:
            await sweep(world, found)
        except (faults.Fault, OSError) as fault:
            _log.warning("what is left of %s waits for the next start: %s", found.id, fault)
    return card


async def sweep(world: World, app: App) -> None:
    """Remove everything of a destroyed app but its records. Twice is the same as once."""
    await world.conductor.forget(app.id)
    if world.pages:
        world.pages.forget(app.id)
    world.reroute()
    await world.logplex.forget(app.channel)
    await world.builder.forget(app.id)
    await world.repositories.remove(app.id)


def remains(world: World, app: App) -> bool:
    """Whether a kill left something of a destroyed app: its repository goes last."""
    return world.repositories.exists(app.id)


def _free_word(name: str) -> AppName:
    """The name, unless it is one of the API's own below a domain."""
    if name in RESERVED_NAMES:
        raise faults.Invalid(
            f"The name {name} is kept for Oriel itself.", hint="Choose another name."
        )
    return AppName(name)


async def _card(world: World, app: App) -> AppCard:
    def work(conn: Connection) -> tuple[Release | None, Slug | None, bool]:
        head = releases.head(conn, app.id)
        slug = slugs.get(conn, app.id, head.slug_id) if head and head.slug_id else None
        return head, slug, app.id in orders.enabled(conn)

    head, slug, automatic = await world.db.read(work)
    repo_size = await asyncio.to_thread(world.repositories.size_bytes, app.id)
    return AppCard(
        app=app,
        web_url=world.settings.app_url(app.name) + "/",
        git_url=world.settings.git_url(app.name),
        slug_size_bytes=slug.size_bytes if slug else 0,
        repo_size_bytes=repo_size,
        released_at=head.created_at if head else None,
        current=head.version if head else None,
        language=slug.language if slug else "",
        automatic_certificates=automatic,
    )
