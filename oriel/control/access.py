"""Owns who may touch an app: its members, and nobody else.

An app that an account is no member of does not exist for it. Must not know tokens or passwords.
"""

from __future__ import annotations

from sqlalchemy import Connection

from oriel import faults
from oriel.control import record
from oriel.control.world import World
from oriel.ledger import App, apps
from oriel.lexicon import Actor, Email
from oriel.people import Member, accounts, memberships


def find(conn: Connection, actor: Actor, app: str) -> App:
    """The app of that name or id, as far as `actor` may know of it; NotFound otherwise."""
    try:
        found = apps.by_name_or_id(conn, app)
    except faults.NotFound:
        # Word for word as below: else the answer would tell which names are taken.
        raise no_such_app() from None
    if not memberships.may(conn, actor.account_id, found.id):
        raise no_such_app()
    return found


def no_such_app() -> faults.NotFound:
    """The one answer for an app that is not there and one that is not yours."""
    return faults.NotFound(
        "Couldn't find that app.", hint="See yours with: oriel apps", resource="app"
    )


async def app_of(world: World, actor: Actor, app: str) -> App:
    """The same as `find`, in a transaction of its own."""
    return await world.db.read(lambda conn: find(conn, actor, app))


async def collaborators(world: World, actor: Actor, app: str) -> list[Member]:
    """Everybody who may touch the app."""
    return await world.db.read(lambda conn: memberships.of_app(conn, find(conn, actor, app).id))


async def add_collaborator(world: World, actor: Actor, app: str, email: str) -> Member:
    """Let another account touch the app. Twice is the same as once."""

    def work(conn: Connection) -> Member:
        found = find(conn, actor, app)
        account = accounts.by_email(conn, Email(email))
        if not memberships.may(conn, account.id, found.id):
            now = world.clock.wall()
            memberships.add(conn, found.id, account.id, "collaborator", actor.email, now)
            line = f"Access add {account.email}"
            record.act(conn, world, actor, found, "access:add", {"email": account.email}, [line])
        return _member(conn, found, account.email)

    return await world.db.write(work)


async def remove_collaborator(world: World, actor: Actor, app: str, email: str) -> Member:
    """Take that away again; the app's owner stays."""

    def work(conn: Connection) -> Member:
        found = find(conn, actor, app)
        member = _member(conn, found, Email(email))
        if member.account.id == found.owner_id:
            raise faults.Invalid(
                f"{member.account.email} owns {found.name}, and stays until the app goes.",
                hint=f"Destroy the app with: oriel apps:destroy {found.name}",
                app=found.name,
            )
        memberships.remove(conn, found.id, member.account.id)
        line = f"Access remove {member.account.email}"
        detail = {"email": member.account.email}
        record.act(conn, world, actor, found, "access:remove", detail, [line])
        return member

    return await world.db.write(work)


def _member(conn: Connection, app: App, email: str) -> Member:
    for member in memberships.of_app(conn, app.id):
        if member.account.email == email:
            return member
    raise faults.NotFound(
        f"{email} has no access to {app.name}.",
        hint=f"See who has with: oriel access -a {app.name}",
        resource="collaborator",
        app=app.name,
    )
