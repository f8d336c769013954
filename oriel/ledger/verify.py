"""Owns the proof that an app's releases are what was appended: none changed, removed or cut.

Must not know how a release is made. What the database cannot show, a cut tail, is found by the
hashes that the log channel kept.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from sqlalchemy import Connection, select

from oriel.faults import Fault
from oriel.ledger import releases
from oriel.ledger.entry import (
    FAILED,
    PENDING,
    SUCCEEDED,
    Release,
    Status,
    release_bytes,
    short,
    status_bytes,
    statuses_bytes,
)
from oriel.ledger.tables import releases as table
from oriel.ledger.vault import Vault

# What a row can raise that somebody wrote into by hand: text for a number, bytes or JSON.
_UNREADABLE = (TypeError, ValueError, AttributeError, KeyError, OverflowError, Fault)

_LIFE = {(SUCCEEDED,), (PENDING,), (PENDING, SUCCEEDED), (PENDING, FAILED)}
"""The status entries that a release can have."""


@dataclass(frozen=True, slots=True)
class Report:
    """How a verification came out."""

    ok: bool
    releases: int
    """How many rows there are."""
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A row as it was found; None where it cannot even be read."""

    version: int
    release: Release | None
    statuses: tuple[Status, ...] = ()


def verify(
    conn: Connection, vault: Vault, app_id: str, heads_in_channel: Mapping[int, str]
) -> Report:
    """Check every release of an app; `heads_in_channel` has short hashes by version."""
    entries = _entries(conn, app_id)
    problems = [
        *_missing([entry.version for entry in entries]),
        *(problem for entry in entries for problem in _own(vault, entry, entry is entries[-1])),
        *(problem for one, two in pairwise(entries) for problem in _chain(vault, one, two)),
        *_channel(entries, heads_in_channel),
    ]
    return Report(ok=not problems, releases=len(entries), problems=tuple(problems))


def _entries(conn: Connection, app_id: str) -> list[_Entry]:
    # One by one: a row that cannot be read must not hide the others.
    rows = conn.execute(
        select(table.c.version, table.c.id)
        .where(table.c.app_id == app_id)
        .order_by(table.c.version)
    ).all()
    return [_entry(conn, app_id, row.version, row.id) for row in rows]


def _entry(conn: Connection, app_id: str, version: int, id: str) -> _Entry:
    try:
        return _Entry(version, releases.by_id(conn, app_id, id), releases.statuses(conn, id))
    except _UNREADABLE:
        return _Entry(version, None)


def _missing(versions: list[int]) -> Iterator[str]:
    for before, after in pairwise([0, *versions]):
        if after == before + 2:
            yield f"v{before + 1} was removed."
        elif after > before + 2:
            yield f"v{before + 1} to v{after - 1} were removed."


def _own(vault: Vault, entry: _Entry, newest: bool) -> Iterator[str]:
    """What is wrong with a row taken alone."""
    release = entry.release
    if release is None or not _signed(vault, release):
        yield f"v{entry.version} was changed."
        return
    if tuple(status.status for status in entry.statuses) not in _LIFE:
        yield f"v{entry.version}: a status entry was removed or added."
    elif not newest and entry.statuses[-1].status == PENDING:
        yield f"v{entry.version}: the status entry that settled it was removed."
    for place, status in enumerate(entry.statuses):
        if not _status_signed(vault, release, status, entry.statuses[:place]):
            yield f"v{entry.version}: a status entry was changed."


def _signed(vault: Vault, release: Release) -> bool:
    try:
        return hmac.compare_digest(vault.mac(release_bytes(release)), release.mac)
    except _UNREADABLE:
        return False


def _status_signed(
    vault: Vault, release: Release, status: Status, earlier: tuple[Status, ...]
) -> bool:
    try:
        expected = vault.mac(status_bytes(status, release.mac, earlier))
        return hmac.compare_digest(expected, status.mac)
    except _UNREADABLE:
        return False


def _chain(vault: Vault, before: _Entry, after: _Entry) -> Iterator[str]:
    """Whether one row is what the next one was appended to."""
    if before.release is None or after.release is None or after.version != before.version + 1:
        return
    if after.release.previous_mac != before.release.mac:
        yield f"v{after.version} was not appended to this v{before.version}: one was replaced."
    try:
        covered = vault.mac(statuses_bytes(before.statuses))
    except _UNREADABLE:
        covered = b""
    if after.release.previous_status_mac != covered:
        yield f"v{before.version}: its status entries were changed after v{after.version} followed."


def _channel(entries: list[_Entry], heads: Mapping[int, str]) -> Iterator[str]:
    """What the log channel remembers otherwise."""
    found = {entry.version: entry.release for entry in entries}
    for version, head in sorted(heads.items()):
        if version not in found:
            yield f"v{version} was removed: the log channel has it as created with {head}."
            continue
        release = found[version]
        if release is not None and short(release.mac) != head:
            yield f"v{version} is {short(release.mac)}, and the log channel says {head}."
