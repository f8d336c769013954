"""Owns the order and immutability of releases. Must not know processes, HTTP or the wall clock.

The only statements on `releases` and `release_statuses`: INSERT and SELECT. Everything that
appends holds the app's row until the end of the transaction, so two can never follow the same one.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, func, insert, select

from oriel.clock import new_id
from oriel.faults import Broken, Conflict, Invalid, NotFound, ReleasePending
from oriel.ledger import config as configs
from oriel.ledger import slugs, tables
from oriel.ledger.apps import App
from oriel.ledger.entry import (
    FAILED,
    PENDING,
    SUCCEEDED,
    Draft,
    Release,
    State,
    Status,
    release_bytes,
    short,
    state_bytes,
    status_bytes,
    statuses_bytes,
)
from oriel.ledger.vault import Vault
from oriel.lexicon import Actor

__all__ = [
    "FAILED", "PENDING", "SUCCEEDED", "Draft", "Release", "State", "Status", "all_pending",
    "append", "by_id", "config", "get", "head", "last_version", "newest", "pending",
    "rollback_target", "settle", "short", "state", "statuses",
]  # fmt: skip

_releases = tables.releases
_first = tables.release_statuses.alias("first_status")
_settled = tables.release_statuses.alias("settled_status")
_status = func.coalesce(_settled.c.status, _first.c.status, "unknown")
_reason = func.coalesce(_settled.c.reason, _first.c.reason, "")

_COLUMNS = tuple(_releases.c.keys())

_release_insert = insert(_releases)
_status_insert = insert(tables.release_statuses)

_release_rows = (
    select(_releases, _status.label("status"), _reason.label("status_reason"))
    .outerjoin(_first, (_first.c.release_id == _releases.c.id) & (_first.c.ordinal == 1))
    .outerjoin(_settled, (_settled.c.release_id == _releases.c.id) & (_settled.c.ordinal == 2))
)
_newest_first = _release_rows.order_by(_releases.c.version.desc())


def append(
    conn: Connection,
    vault: Vault,
    app: App,
    draft: Draft,
    actor: Actor,
    act_id: int,
    now: datetime,
    status: str = SUCCEEDED,
) -> Release:
    """Append the app's next release, with its first status entry.

    Raises ReleasePending while another is, Invalid for config that cannot be, NotFound when the
    app was destroyed meanwhile.
    """
    if status not in (SUCCEEDED, PENDING):
        raise ValueError(f"a release does not begin as {status}")
    _hold(conn, app.id)
    previous = _first_of(conn, _of(app.id))
    if previous is not None and previous.status == PENDING:
        raise ReleasePending(
            f"Release v{previous.version} of {app.name} is still under way.",
            hint=f"Wait until it is done: `oriel releases:info v{previous.version}` shows it.",
            app=app.name,
        )
    configs.check(draft.config)
    if draft.slug is not None:
        slugs.insert(conn, draft.slug)
    release = _drafted(conn, vault, app, draft, previous)
    release = replace(
        release,
        act_id=act_id,
        by_id=actor.account_id,
        by_email=actor.email,
        created_at=now,
        status=status,
    )
    release = replace(release, mac=vault.mac(release_bytes(release)))
    conn.execute(_release_insert, _values(release))
    _note(conn, vault, release, Status(release.id, 1, status, "", now, b""))
    return release


def settle(
    conn: Connection,
    release: Release,
    status: str,
    reason: str,
    now: datetime,
    *,
    vault: Vault,
) -> Release:
    """End a pending release as succeeded or failed; raises Conflict when it is not pending."""
    if status not in (SUCCEEDED, FAILED):
        raise ValueError(f"a release does not end as {status}")
    _hold(conn, release.app_id)
    current = by_id(conn, release.app_id, release.id)
    if current.status != PENDING:
        raise Conflict(f"Release v{current.version} has already {current.status}.")
    _note(conn, vault, current, Status(release.id, 2, status, reason, now, b""))
    return replace(current, status=status, status_reason=reason)


def head(conn: Connection, app_id: str) -> Release | None:
    """The newest release that succeeded: the one that is to run."""
    return _first_of(conn, _of(app_id).where(_status == SUCCEEDED))


def get(conn: Connection, app_id: str, version: int) -> Release:
    """Release number `version`; raises NotFound."""
    return _one(conn, _of(app_id).where(_releases.c.version == version))


def by_id(conn: Connection, app_id: str, id: str) -> Release:
    """The app's release of this id; raises NotFound."""
    return _one(conn, _of(app_id).where(_releases.c.id == id))


def newest(
    conn: Connection, app_id: str, limit: int = 15, before: int | None = None
) -> list[Release]:
    """The app's releases, newest first, at most `limit`, those below version `before`."""
    statement = _of(app_id).limit(limit)
    if before is not None:
        statement = statement.where(_releases.c.version < before)
    return [_release(row) for row in conn.execute(statement)]


def last_version(conn: Connection, app_id: str) -> int:
    """The number of the newest release, whatever its status; 0 when there is none."""
    statement = select(func.max(_releases.c.version)).where(_releases.c.app_id == app_id)
    return int(conn.execute(statement).scalar_one() or 0)


def pending(conn: Connection, app_id: str) -> Release | None:
    """The app's pending release. Only its newest can be one."""
    release = _first_of(conn, _of(app_id))
    return release if release is not None and release.status == PENDING else None


def all_pending(conn: Connection) -> list[Release]:
    """Every pending release of every app that is there: what a start has to finish or undo."""
    statement = (
        _newest_first.join(tables.apps, tables.apps.c.id == _releases.c.app_id)
        .where(tables.apps.c.destroyed_at.is_(None))
        .where(_first.c.status == PENDING, _settled.c.status.is_(None))
    )
    return [_release(row) for row in conn.execute(statement)]


def statuses(conn: Connection, release_id: str) -> tuple[Status, ...]:
    """A release's status entries, in order."""
    rows = conn.execute(
        select(tables.release_statuses)
        .where(tables.release_statuses.c.release_id == release_id)
        .order_by(tables.release_statuses.c.ordinal)
    )
    return tuple(Status(**row._mapping) for row in rows)


def config(vault: Vault, app: App, release: Release) -> dict[str, str]:
    """A release's config, opened."""
    context = _context(app.id, release.id)
    return configs.load(vault.open(app.wrapped_key, release.config_sealed, context))


def state(conn: Connection, vault: Vault, app: App, release: Release) -> State:
    """All that a release makes run: what drafts begin from, and what `diff` compares."""
    return State(
        version=release.version,
        slug=slugs.get(conn, app.id, release.slug_id) if release.slug_id else None,
        commit=release.commit,
        process_types=release.process_types,
        config=config(vault, app, release),
        attachments=release.attachments,
        buildpacks=release.buildpacks,
    )


def rollback_target(conn: Connection, app_id: str) -> Release:
    """Where a bare rollback goes: the newest succeeded release before the state that runs now.

    That state may be a copy: then it is before the original, so that twice goes two back. Equal
    states are skipped, and so is one without code when there is code now: that would undo no
    mistake, it would take the app down. Raises Invalid when nothing is left.
    """
    current = head(conn, app_id)
    if current is None:
        raise Invalid("There is no release to roll back from.")
    earlier = _of(app_id).where(
        _status == SUCCEEDED,
        _releases.c.version < (current.copy_of or current.version),
        _releases.c.state != current.state,
    )
    if current.slug_id is not None:
        earlier = earlier.where(_releases.c.slug_id.is_not(None))
    target = _first_of(conn, earlier)
    if target is None:
        raise Invalid(
            f"There is nothing to roll back to before v{current.copy_of or current.version}: "
            "no earlier release succeeded with code and differs from what runs now.",
            hint="`oriel releases` lists what there is; `oriel rollback vN` takes any of them.",
        )
    return target


def _drafted(
    conn: Connection, vault: Vault, app: App, draft: Draft, previous: Release | None
) -> Release:
    """The state a draft asks for, sealed, in its place in the chain; not yet signed."""
    slug = draft.slug
    drafted = State(
        version=1 if previous is None else previous.version + 1,
        slug=slug,
        commit=draft.commit if draft.commit is not None else (slug.commit if slug else ""),
        process_types=_process_types(draft),
        config=draft.config,
        attachments=draft.attachments,
        buildpacks=draft.buildpacks,
    )
    id = new_id()
    return Release(
        id=id,
        app_id=app.id,
        version=drafted.version,
        kind=draft.kind,
        description=draft.description,
        slug_id=slug.id if slug else None,
        commit=drafted.commit,
        process_types=drafted.process_types,
        config_sealed=vault.seal(app.wrapped_key, configs.dump(draft.config), _context(app.id, id)),
        attachments=draft.attachments,
        stack=app.stack,
        buildpacks=draft.buildpacks,
        state=vault.mac(state_bytes(app.id, app.stack, drafted)),
        act_id=0,
        by_id="",
        by_email="",
        created_at=app.created_at,
        copy_of=draft.copy_of,
        previous_mac=previous.mac if previous else b"",
        previous_status_mac=(
            vault.mac(statuses_bytes(statuses(conn, previous.id))) if previous else b""
        ),
        mac=b"",
        status="",
        status_reason="",
    )


def _process_types(draft: Draft) -> dict[str, str]:
    if draft.process_types is not None:
        return dict(draft.process_types)
    return dict(draft.slug.process_types) if draft.slug else {}


def _note(conn: Connection, vault: Vault, release: Release, status: Status) -> None:
    earlier = statuses(conn, release.id)
    status = replace(status, mac=vault.mac(status_bytes(status, release.mac, earlier)))
    conn.execute(_status_insert, {field: getattr(status, field) for field in Status.__slots__})


def _hold(conn: Connection, app_id: str) -> None:
    """Take the app's turn: SQLite's writers are alone anyway, PostgreSQL's wait for the row."""
    statement = (
        select(tables.apps.c.id)
        .where(tables.apps.c.id == app_id, tables.apps.c.destroyed_at.is_(None))
        .with_for_update()
    )
    if conn.execute(statement).first() is None:
        raise NotFound("Couldn't find that app.", resource="app")


def _context(app_id: str, release_id: str) -> bytes:
    return f"config of release {release_id} of app {app_id}".encode()


def _of(app_id: str) -> Select[Any]:
    return _newest_first.where(_releases.c.app_id == app_id)


def _first_of(conn: Connection, statement: Select[Any]) -> Release | None:
    row = conn.execute(statement.limit(1)).first()
    return _release(row) if row is not None else None


def _one(conn: Connection, statement: Select[Any]) -> Release:
    release = _first_of(conn, statement)
    if release is None:
        raise NotFound("Couldn't find that release.", resource="release")
    return release


def _values(release: Release) -> dict[str, Any]:
    values = {column: getattr(release, column) for column in _COLUMNS}
    return {
        **values,
        "attachments": list(release.attachments),
        "buildpacks": list(release.buildpacks),
    }


def _release(row: Row[Any]) -> Release:
    values = dict(row._mapping)
    # Strict, since an empty text would pass for an empty list, and the row for unchanged.
    for column, kind in (("process_types", dict), ("attachments", list), ("buildpacks", list)):
        if not isinstance(values[column], kind):
            raise Broken(f"Release v{row.version} is damaged: {column} is not what was written.")
    values["attachments"] = tuple(values["attachments"])
    values["buildpacks"] = tuple(values["buildpacks"])
    return Release(**values)
