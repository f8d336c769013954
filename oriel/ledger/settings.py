"""Owns what is set of an app that is in no release: how many of each process type are to run, its
features, its check. Must not know what runs.

Each change is an act, and the row here is the fold of those acts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update

from oriel.faults import Invalid
from oriel.ledger.tables import app_checks, app_features, formations
from oriel.lexicon import Malformed, ProcessType

SIZE = "standard-1x"
QUANTITY_MAX = 100
"""Dynos of one type; a mistyped number must not take the machine down."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How many dynos of a process type, and how big."""

    quantity: int
    size: str = SIZE


def quantities(conn: Connection, app_id: str) -> dict[str, Scale]:
    """Every process type that was ever scaled; web first, the rest by name."""
    rows = conn.execute(
        select(formations.c.type, formations.c.quantity, formations.c.size).where(
            formations.c.app_id == app_id
        )
    )
    ordered = sorted(rows, key=lambda row: (row.type != "web", row.type))
    return {row.type: Scale(row.quantity, row.size) for row in ordered}


def set_scale(
    conn: Connection, app_id: str, type: str, quantity: int, size: str, now: datetime
) -> None:
    """From now on run `quantity` dynos of `size` for process type `type`; raises Invalid."""
    try:
        ProcessType(type)
    except Malformed as error:
        raise Invalid(str(error)) from None
    if not 0 <= quantity <= QUANTITY_MAX:
        raise Invalid(f"{type} can be scaled from 0 to {QUANTITY_MAX}, not to {quantity}.")
    values = {"quantity": quantity, "size": size, "updated_at": now}
    row = (formations.c.app_id == app_id) & (formations.c.type == type)
    if not conn.execute(update(formations).where(row).values(values)).rowcount:
        conn.execute(insert(formations).values(app_id=app_id, type=type, **values))


PREBOOT = "preboot"
DAILY_CYCLING = "daily-cycling"
HTTPS_REDIRECT = "https-redirect"
"""The features by name; what they do is told in `control.features`."""


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature that was switched on or off for an app."""

    enabled: bool
    at: datetime


def features(conn: Connection, app_id: str) -> dict[str, Feature]:
    """Every feature that was ever switched, by name."""
    rows = conn.execute(select(app_features).where(app_features.c.app_id == app_id))
    return {row.name: Feature(row.enabled, row.updated_at) for row in rows}


def has_feature(conn: Connection, app_id: str, name: str) -> bool:
    """Whether the app has switched the feature on."""
    switched = features(conn, app_id).get(name)
    return switched is not None and switched.enabled


def apps_with(conn: Connection, name: str) -> set[str]:
    """The ids of all apps that have a feature on."""
    is_on = (app_features.c.name == name) & app_features.c.enabled
    return set(conn.execute(select(app_features.c.app_id).where(is_on)).scalars())


def set_feature(conn: Connection, app_id: str, name: str, enabled: bool, now: datetime) -> None:
    """Switch a feature on or off."""
    values = {"enabled": enabled, "updated_at": now}
    row = (app_features.c.app_id == app_id) & (app_features.c.name == name)
    if not conn.execute(update(app_features).where(row).values(values)).rowcount:
        conn.execute(insert(app_features).values(app_id=app_id, name=name, **values))


@dataclass(frozen=True, slots=True)
class CheckSetting:
    """How an app's web dynos show that they are up, and how long they may take."""

    path: str
    """Empty: their port alone counts."""
    boot_timeout_s: int


def check(conn: Connection, app_id: str) -> CheckSetting | None:
    """What was set; None where nothing was."""
    row = conn.execute(select(app_checks).where(app_checks.c.app_id == app_id)).one_or_none()
    return CheckSetting(row.path, row.boot_timeout_s) if row else None


def set_check(conn: Connection, app_id: str, wanted: CheckSetting, now: datetime) -> None:
    """From now on it is that."""
    unset_check(conn, app_id)
    conn.execute(
        insert(app_checks).values(
            app_id=app_id,
            path=wanted.path,
            boot_timeout_s=wanted.boot_timeout_s,
            updated_at=now,
        )
    )


def unset_check(conn: Connection, app_id: str) -> None:
    """Back to what nobody set."""
    conn.execute(delete(app_checks).where(app_checks.c.app_id == app_id))
