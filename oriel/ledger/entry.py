"""Owns what a release is, and the canonical bytes its MAC is over. Pure; must not know SQL or keys.

If you add a field to Release: add a column, add it to `release_bytes` under a new format number,
and keep the old format for old rows. What is not in these bytes can be changed unseen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from oriel.ledger.slugs import Slug

PENDING = "pending"
SUCCEEDED = "succeeded"
FAILED = "failed"

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Release:
    """One entry of an app's ledger: what is to run, whole, and who made it so."""

    id: str
    app_id: str
    version: int
    kind: str
    """`initial`, `deploy`, `config`, `rollback`..."""
    description: str
    slug_id: str | None
    commit: str
    process_types: Mapping[str, str]
    config_sealed: bytes
    attachments: tuple[Any, ...]
    stack: str
    buildpacks: tuple[str, ...]
    state: bytes
    """A keyed digest of all that runs: two releases of an app with equal ones run the same."""
    act_id: int
    by_id: str
    by_email: str
    created_at: datetime
    copy_of: int | None
    """For a rollback, the version whose state it is: never itself a copy."""
    previous_mac: bytes
    previous_status_mac: bytes
    """Over the previous release's status entries, so that they are part of the chain too."""
    mac: bytes
    status: str
    status_reason: str

    @property
    def short(self) -> str:
        """The start of the MAC, as the channel shows it."""
        return short(self.mac)


@dataclass(frozen=True, slots=True)
class Status:
    """One entry on how a release went: the first with it, at most one more when it is settled."""

    release_id: str
    ordinal: int
    status: str
    reason: str
    at: datetime
    mac: bytes


@dataclass(frozen=True, slots=True)
class State:
    """What a release makes run, opened."""

    version: int
    slug: Slug | None
    commit: str
    process_types: Mapping[str, str]
    config: Mapping[str, str]
    attachments: tuple[Any, ...] = ()
    buildpacks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Draft:
    """A release to be: `drafts` makes them."""

    kind: str
    description: str
    slug: Slug | None
    config: Mapping[str, str]
    copy_of: int | None = None
    commit: str | None = None
    """The slug's own unless given: an equal tree may come from another commit."""
    process_types: Mapping[str, str] | None = None
    """The slug's own unless given."""
    attachments: tuple[Any, ...] = ()
    buildpacks: tuple[str, ...] = ()


def short(mac: bytes) -> str:
    """The first 12 hex digits of a MAC: what `Release vN created` carries in the channel."""
    return mac.hex()[:12]


def release_bytes(release: Release) -> bytes:
    """What a release's MAC is over: every column but the MAC, the previous ones' included."""
    return _canonical(
        {
            "entry": "release",
            "id": release.id,
            "app_id": release.app_id,
            "version": release.version,
            "kind": release.kind,
            "description": release.description,
            "slug_id": release.slug_id,
            "commit": release.commit,
            "process_types": dict(release.process_types),
            "config_sealed": release.config_sealed.hex(),
            "attachments": list(release.attachments),
            "stack": release.stack,
            "buildpacks": list(release.buildpacks),
            "state": release.state.hex(),
            "act_id": release.act_id,
            "by_id": release.by_id,
            "by_email": release.by_email,
            "created_at": _time(release.created_at),
            "copy_of": release.copy_of,
            "previous_mac": release.previous_mac.hex(),
            "previous_status_mac": release.previous_status_mac.hex(),
        }
    )


def status_bytes(status: Status, release_mac: bytes, earlier: tuple[Status, ...]) -> bytes:
    """What a status entry's MAC is over: itself, its release, and the entry before it."""
    return _canonical(
        {
            "entry": "status",
            **_status(status),
            "release_mac": release_mac.hex(),
            "earlier": [_status(entry) for entry in earlier],
        }
    )


def statuses_bytes(statuses: tuple[Status, ...]) -> bytes:
    """What the next release's `previous_status_mac` is over."""
    return _canonical({"entry": "statuses", "statuses": [_status(entry) for entry in statuses]})


def state_bytes(app_id: str, stack: str, state: State) -> bytes:
    """What a release's `state` is over: all that its dynos are made of, not how it came to be."""
    return _canonical(
        {
            "entry": "state",
            "app_id": app_id,
            "stack": stack,
            "slug_id": state.slug.id if state.slug else None,
            "process_types": dict(state.process_types),
            "config": dict(state.config),
            "attachments": list(state.attachments),
            "buildpacks": list(state.buildpacks),
        }
    )


def _status(status: Status) -> dict[str, Any]:
    return {
        "release_id": status.release_id,
        "ordinal": status.ordinal,
        "status": status.status,
        "reason": status.reason,
        "at": _time(status.at),
    }


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


def _canonical(value: dict[str, Any]) -> bytes:
    """The one spelling of `value`: keys sorted, no spaces, ASCII, its format first in the sort."""
    return json.dumps(
        {"0format": _FORMAT, **value}, sort_keys=True, separators=(",", ":"), allow_nan=False
    ).encode("ascii")
