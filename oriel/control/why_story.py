"""Owns gathering what the four records say of one dyno, for `why.explain`.

Must not know what follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from oriel import faults
from oriel.control import access, dynos, said
from oriel.control.history import no_such
from oriel.control.said import Line
from oriel.control.why import Change, Story, Why, explain, subject_of, turn_of
from oriel.control.world import World
from oriel.ledger import Act, App, Release, acts, releases
from oriel.lexicon import Actor, DynoName, Malformed
from oriel.manifold import history
from oriel.manifold.history import Happening
from oriel.manifold.stays import Stay

ENTRIES_MAX = 500
ACTS_MAX = 50
RELEASES_MAX = 50
LINES_MAX = 200
LINES_NEAR = 25
AFTERWARDS = timedelta(seconds=5)
"""How long after its end a dyno's last words may still come to the log."""

_RELEASING = ("apps:create", "deploy", "config:set", "rollback", "releases:retry")


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the records in SQL say."""

    app: App
    entries: tuple[Happening, ...]
    changes: tuple[Change, ...]
    head: Release | None
    good: int | None


async def why(world: World, actor: Actor, app: str, name: str) -> Why:
    """Why a dyno of an app is as it is, or became of it.

    Raises NotFound, with the names that there are, for one that never was.
    """
    wanted = _name(name)
    facts = await world.db.read(lambda conn: _facts(conn, world, actor, app, wanted))
    shown = await dynos.dynos(world, actor, facts.app.id)
    mine = [each for each in shown if each.name == wanted]
    dyno = max(mine, key=lambda each: each.release) if mine else None
    usage = await world.conductor.usage(facts.app.id, str(wanted)) if dyno else {}
    subject = subject_of(facts.entries)
    lines = await _words(world, facts.app, wanted, subject) if subject else ()
    used = usage.get(dyno.instance) if dyno else None
    return explain(
        Story(
            now=world.clock.wall(),
            name=wanted,
            dyno=dyno,
            entries=facts.entries,
            changes=facts.changes,
            head=facts.head.version if facts.head else None,
            good=facts.good,
            is_in_procfile=facts.head is not None and wanted.type in facts.head.process_types,
            others=[each for each in shown if each.name != wanted],
            said=lines,
            memory_bytes=used.memory_bytes if used else None,
        )
    )


def _name(text: str) -> DynoName:
    try:
        return DynoName.parse(text)
    except Malformed as problem:
        raise faults.Invalid(str(problem), hint="oriel ps shows the names.") from None


def _facts(conn: Connection, world: World, actor: Actor, app: str, name: DynoName) -> _Facts:
    found = access.find(conn, actor, app)
    entries = history.of_name(conn, found.id, str(name), ENTRIES_MAX)
    turned = turn_of(entries)
    subject = subject_of(entries)
    if turned is None or subject is None:
        raise no_such(found, str(name), history.names(conn, found.id))
    head = releases.head(conn, found.id)
    in_procfile = head is not None and name.type in head.process_types
    made = releases.newest(conn, found.id, RELEASES_MAX, before=subject.release + 2)
    changes = _changes(conn, world, found, name, turned, made)
    top = subject.release if in_procfile or head is None else head.version
    return _Facts(found, tuple(entries), changes, head, _good(conn, found, name, top, made))


def _good(
    conn: Connection, app: App, name: DynoName, before: int, made: Sequence[Release]
) -> int | None:
    """The newest release before, on which such a dyno came up, that can be gone back to."""
    version = history.last_up(conn, app.id, name.type, before)
    if version is None:
        return None
    try:
        found = releases.get(conn, app.id, version)
    except faults.NotFound:
        return None
    return version if found.status == "succeeded" and found.slug_id else None


# --- what was changed


def _changes(
    conn: Connection,
    world: World,
    app: App,
    name: DynoName,
    until: datetime,
    made: Sequence[Release],
) -> tuple[Change, ...]:
    by_act = {release.act_id: release for release in made}
    found = []
    for act in acts.up_to(conn, app.id, until, ACTS_MAX):
        change = _change(conn, world, app, name, act, by_act)
        if change is not None:
            found.append(change)
    return tuple(found)


def _change(
    conn: Connection,
    world: World,
    app: App,
    name: DynoName,
    act: Act,
    by_act: Mapping[int, Release],
) -> Change | None:
    """An act as a change; None for one that changes nothing about what runs."""
    release = by_act.get(act.id)
    if release is not None:
        undo = _unset(conn, world, app, release, by_act) if release.kind == "config" else ""
        failed = " (failed)" if release.status == "failed" else ""
        return Change(
            act.at, release.description + failed, act.actor.email, "release", release.version, undo
        )
    only = act.detail.get("only")
    whom = str(only) if only else "all"
    if only and only not in (name.type, str(name)):
        return None
    if act.verb == "ps:scale":
        return Change(
            act.at, _scaled(act.detail), act.actor.email, "scale", None, _rescale(act.detail, name)
        )
    if act.verb == "ps:restart":
        return Change(act.at, f"Restart {whom}", act.actor.email, "restart")
    if act.verb == "ps:stop":
        return Change(act.at, f"Stop {whom}", act.actor.email, "stop")
    if act.verb.startswith(("features:", "checks:")):
        return Change(act.at, act.verb, act.actor.email, "other")
    return None


def _scaled(detail: Mapping[str, object]) -> str:
    """`Scale web 1 to 2, worker to standard-2x`."""
    changed = detail.get("changed")
    parts = []
    for type_, each in (changed if isinstance(changed, dict) else {}).items():
        if "quantity" in each:
            parts.append("{} {} to {}".format(type_, *each["quantity"]))
        if "size" in each:
            parts.append("{} {} to {}".format(type_, *each["size"]))
    if parts:
        return "Scale " + ", ".join(parts)
    formation = detail.get("formation")
    wanted = formation if isinstance(formation, dict) else {}
    return "Scale to " + ", ".join(f"{type_}={number}" for type_, number in wanted.items())


def _rescale(detail: Mapping[str, object], name: DynoName) -> str:
    """What takes a change of this dyno's type back."""
    changed = detail.get("changed")
    mine = changed.get(name.type, {}) if isinstance(changed, dict) else {}
    if "size" in mine and "quantity" not in mine:
        return f"oriel ps:type {name.type}={mine['size'][0]}"
    if "quantity" not in mine:
        return ""
    size = f":{mine['size'][0]}" if "size" in mine else ""
    return f"oriel ps:scale {name.type}={mine['quantity'][0]}{size}"


def _unset(
    conn: Connection, world: World, app: App, release: Release, by_act: Mapping[int, Release]
) -> str:
    """What takes a change of config back where it only added vars; a value that was changed is
    brought back by a rollback alone, for it is not to be shown.
    """
    before = next((r for r in by_act.values() if r.version == release.version - 1), None)
    if before is None or not release.description.startswith("Config add "):
        return ""
    old, new = (releases.config(world.vault, app, each) for each in (before, release))
    touched = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    added = sorted(touched - old.keys())
    return f"oriel config:remove {' '.join(added)}" if touched == set(added) and added else ""


# --- what it said


async def _words(world: World, app: App, name: DynoName, subject: Stay) -> tuple[Line, ...] | None:
    """The last lines of the instance that the answer is about."""
    lines = await said.last(
        world,
        app.channel,
        str(name),
        LINES_MAX,
        sources=("app",),
        since=subject.begun,
        until=subject.ended + AFTERWARDS if subject.ended else None,
    )
    if lines is None:
        return None
    own = [line for line in lines if not line.instance or line.instance == subject.instance]
    return tuple(own[-LINES_NEAR:])
