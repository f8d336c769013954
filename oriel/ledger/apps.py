"""Owns which apps there are: name, uid, owner, channel, wrapped key. Must not know releases.

A destroyed app's row stays, for its acts and so that its uid is never given again; its name
is free.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, insert, or_, select, text, update

from oriel.faults import Conflict, Invalid, NotFound
from oriel.ledger.tables import apps
from oriel.ledger.vault import Vault
from oriel.lexicon import AppName, Malformed

STACK = "oriel-1"

_app_insert = insert(apps)
_apps_present = select(apps).where(apps.c.destroyed_at.is_(None))
_named = _apps_present.where(or_(apps.c.name == bindparam("text"), apps.c.id == bindparam("text")))


@dataclass(frozen=True, slots=True)
class App:
    """An app, as of when it was read."""

    id: str
    name: str
    uid: int
    owner_id: str
    owner_email: str
    channel: str
    stack: str
    maintenance: bool
    created_at: datetime
    updated_at: datetime
    wrapped_key: bytes


def create(
    conn: Connection,
    vault: Vault,
    name: str,
    owner_id: str,
    owner_email: str,
    uid_base: int | None,
    uid_fixed: int | None,
    now: datetime,
    app_id: str,
    channel: str,
) -> App:
    """A new app. Its uid is `uid_fixed`, or the next from `uid_base` that no app ever had.

    Raises Invalid for a name that is not allowed and Conflict for one that is taken.
    """
    _lock_names(conn)
    _check_free(conn, name)
    app = App(
        id=app_id,
        name=name,
        uid=_uid(conn, uid_base, uid_fixed),
        owner_id=owner_id,
        owner_email=owner_email,
        channel=channel,
        stack=STACK,
        maintenance=False,
        created_at=now,
        updated_at=now,
        wrapped_key=vault.new_app_key(),
    )
    conn.execute(_app_insert, {field: getattr(app, field) for field in App.__slots__})
    return app


def by_name_or_id(conn: Connection, text: str) -> App:
    """The app of this name or id; raises NotFound. A name is looked for first."""
    # A name from a URL may hold what no database takes, such as NUL.
    if not text.isprintable():
        raise NotFound("Couldn't find that app.", resource="app")
    rows = conn.execute(_named, {"text": text}).all()
    if not rows:
        raise NotFound("Couldn't find that app.", resource="app")
    return _app(next((row for row in rows if row.name == text), rows[0]))


def all(conn: Connection) -> list[App]:
    """Every app there is, by name."""
    return [_app(row) for row in conn.execute(_apps_present.order_by(apps.c.name))]


def any_at_all(conn: Connection) -> bool:
    """Whether there ever was an app here, destroyed or not."""
    return conn.execute(select(apps.c.id).limit(1)).first() is not None


def destroyed(conn: Connection) -> list[App]:
    """Every app that was destroyed: a start sees to it that nothing of theirs is left."""
    statement = select(apps).where(apps.c.destroyed_at.is_not(None)).order_by(apps.c.destroyed_at)
    return [_app(row) for row in conn.execute(statement)]


def rename(conn: Connection, app: App, new: str, now: datetime) -> App:
    """The app under its new name; raises as `create`."""
    _lock_names(conn)
    if new != app.name:
        _check_free(conn, new)
    return _change(conn, app, now, name=new)


def set_maintenance(conn: Connection, app: App, on: bool, now: datetime) -> App:
    """The app with maintenance switched."""
    return _change(conn, app, now, maintenance=on)


def destroy(conn: Connection, app: App, now: datetime) -> None:
    """Take the app away. Its records stay."""
    _change(conn, app, now, destroyed_at=now)


def _change(conn: Connection, app: App, now: datetime, **values: Any) -> App:
    changed = conn.execute(
        update(apps)
        .where(apps.c.id == app.id, apps.c.destroyed_at.is_(None))
        .values(updated_at=now, **values)
    )
    if not changed.rowcount:
        raise NotFound("Couldn't find that app.", resource="app")
    values.pop("destroyed_at", None)
    return replace(app, updated_at=now, **values)


def _check_free(conn: Connection, name: str) -> None:
    try:
        AppName(name)
    except Malformed as error:
        raise Invalid(str(error)) from None
    if conn.execute(_apps_present.where(apps.c.name == name)).first():
        raise Conflict(f"Name {name} is already taken.", hint="Choose another name.", app=name)


def _uid(conn: Connection, base: int | None, fixed: int | None) -> int:
    if fixed is not None:
        return fixed
    if base is None:
        raise ValueError("either uid_base or uid_fixed is needed")
    highest = conn.execute(select(func.max(apps.c.uid)).where(apps.c.uid >= base)).scalar_one()
    return base if highest is None else int(highest) + 1


def _lock_names(conn: Connection) -> None:
    """Hold off whoever else names an app or takes a uid. SQLite's writers are alone anyway."""
    if conn.dialect.name == "postgresql":
        conn.execute(text("LOCK TABLE apps IN SHARE ROW EXCLUSIVE MODE"))


def _app(row: Row[Any]) -> App:
    return App(**{field: getattr(row, field) for field in App.__slots__})
