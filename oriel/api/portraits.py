"""Owns how dynos look as JSON where Oriel says more of them than Heroku has words for: a card, the
past, transitions, why. Pure: must not know requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from oriel.api import representations
from oriel.api.representations import Json, exact

if TYPE_CHECKING:
    from oriel.control.card import Card, Ending, Load
    from oriel.control.dynos import Snapshot
    from oriel.control.said import Line
    from oriel.control.why import Change, Why
    from oriel.manifold.history import Transition
    from oriel.manifold.sizes import Size


def card(it: Card, app_name: str) -> Json:
    """A dyno as Heroku has it; in its `oriel`, all that is known of it."""
    shown = representations.dyno(it.dyno, app_name)
    shown["oriel"] |= {
        "restarts_last_hour": it.restarts,
        "last_exit": _ending(it.last_exit) if it.last_exit else None,
        "usage": usage(it.load),
        "lines": None if it.lines is None else [line(each) for each in it.lines],
    }
    return shown


def usage(it: Load | None) -> Json | None:
    """What a dyno takes of the machine; null where that is not known."""
    if it is None:
        return None
    return {
        "memory_bytes": it.usage.memory_bytes,
        "memory_quota_bytes": it.quota_bytes,
        "swap_bytes": it.usage.swap_bytes,
        "cpu": None if it.cpu is None else round(it.cpu, 4),
        "cpu_s": round(it.usage.cpu_s, 3),
        "processes": it.usage.processes,
    }


def line(it: Line) -> Json:
    """A line of the log."""
    return {"time": it.time, "source": it.source, "ps": it.ps, "text": it.text}


def snapshot(it: Snapshot, app_name: str) -> Json:
    """An app's dynos at a moment, and what should run."""
    return {
        "app": app_name,
        "at": exact(it.at),
        "dynos": [representations.dyno(each, app_name) for each in it.dynos],
        "newest": {"version": it.newest, "status": it.newest_status} if it.newest else None,
        "release": it.release,
        "tag": it.tag,
    }


def transition(it: Transition, app_name: str) -> Json:
    """A change of a dyno's state."""
    after = it.after
    return {
        "app": {"name": app_name},
        "at": exact(after.at),
        "cause": after.cause,
        "command": after.command,
        "dyno": str(after.name),
        "folded": after.folded,
        "from": it.before or None,
        "id": after.id,
        "instance": after.instance,
        "lasted_s": None if it.lasted_s is None else round(it.lasted_s, 6),
        "release": {"version": after.release},
        "size": representations.size(after.size),
        "to": after.state,
        "type": after.name.type,
    }


def why(it: Why) -> Json:
    """Why a dyno is as it is."""
    return {
        "dyno": it.dyno,
        "state": it.state,
        "since": exact(it.since) if it.since else None,
        "release": it.release,
        "instance": it.instance,
        "kind": it.kind,
        "title": it.title,
        "was": it.was,
        "changed": list(it.changed),
        "changes": [_change(each) for each in it.changes],
        "ended": it.ended,
        "crashes": it.crashes,
        "also": it.also,
        "said": list(it.said),
        "steps": [{"kind": each.kind, "command": each.command} for each in it.steps],
    }


def size(it: Size) -> Json:
    """A dyno size."""
    return {
        "architecture": "amd64",
        "compute": 1,
        "cost": None,
        "dedicated": False,
        "generation": {
            "id": representations.made_id("generation", "cedar"),
            "name": "cedar",
        },
        "id": representations.made_id("dyno-size", representations.size(it.name)),
        "memory": it.quota_bytes / (1 << 30),
        "name": representations.size(it.name),
        "precise_dyno_units": 0.0,
        "private_space_only": False,
        "oriel": {"memory_bytes": it.quota_bytes},
    }


def used(dynos: list[Json], loads: Mapping[str, Load]) -> list[Json]:
    """Dynos with what each takes."""
    for each in dynos:
        own: dict[str, Any] = each["oriel"]
        own["usage"] = usage(loads.get(str(own["instance"])))
    return dynos


def _ending(it: Ending) -> Json:
    return {
        "at": exact(it.at),
        "reason": it.reason,
        "release": {"version": it.release},
        "state": it.state,
    }


def _change(it: Change) -> Json:
    return {
        "at": exact(it.at),
        "by": it.by,
        "kind": it.kind,
        "release": it.release,
        "text": it.text,
    }
