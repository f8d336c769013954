"""Owns which moment of an app a text names: a time, an age, or a release (when it was made).

Must not know what is asked about that moment.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from oriel.control import moments
from oriel.ledger import App, releases


def begin_of(conn: Connection, app: App, text: str, now: datetime) -> datetime:
    """The moment from which on something is asked for; raises Invalid, or NotFound for a release
    that is not there.
    """
    return _created(conn, app, text) or moments.moment(text, now)


def end_of(conn: Connection, app: App, text: str, now: datetime) -> datetime:
    """The same as an end: a time in whole seconds takes that second in."""
    return _created(conn, app, text) or moments.end_of(text, now)


def _created(conn: Connection, app: App, text: str) -> datetime | None:
    version = moments.release_of(text)
    return None if version is None else releases.get(conn, app.id, version).created_at
