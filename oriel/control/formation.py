"""Owns scaling: how many dynos of each process type should run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from oriel import faults
from oriel.control import access, record, running
from oriel.control.world import World
from oriel.formation import describe
from oriel.ledger import App, releases, settings
from oriel.lexicon import RELEASE_TYPE, Actor, ProcessType
from oriel.manifold import sizes

QUANTITY_MAX = 100
"""Dynos of one type (heroku-facts E)."""


@dataclass(frozen=True, slots=True)
class TypeScale:
    """A process type of an app: its command and how many dynos of what size should run."""

    type: str
    command: str
    quantity: int
    size: str
    app: App
    release: int


@dataclass(frozen=True, slots=True)
class Change:
    """A wish for one type: quantity `4`, `+1`, `-1` or None to leave it, and a size or None."""

    type: str
    quantity: str | None = None
    size: str | None = None


async def formation(world: World, actor: Actor, app: str) -> list[TypeScale]:
    """Every process type of the head release, web first, the release phase included."""
    return await world.db.read(lambda conn: _formation(conn, access.find(conn, actor, app)))


async def scale(world: World, actor: Actor, app: str, changes: Sequence[Change]) -> list[TypeScale]:
    """Change quantities and sizes; says the whole formation in the channel."""
    found = await access.app_of(world, actor, app)

    def work(conn: Connection) -> list[TypeScale]:
        before = {each.type: each for each in _formation(conn, found)}
        now = world.clock.wall()
        for change in changes:
            current = _known(found, before, change.type)
            quantity = quantity_of(change, current.quantity)
            size = _size(change.size) if change.size else current.size
            settings.set_scale(conn, found.id, change.type, quantity, size, now)
        after = _formation(conn, found)
        quantities = {each.type: each.quantity for each in after if each.type != RELEASE_TYPE}
        line = f"Scale to {describe(quantities)}"
        detail = {"formation": quantities, "changed": _changed(before, after)}
        record.act(conn, world, actor, found, "ps:scale", detail, [line])
        return after

    after = await world.db.write(work)
    await running.apply(world, found.id, actor)
    return after


def _changed(before: Mapping[str, TypeScale], after: Sequence[TypeScale]) -> dict[str, Any]:
    """What of each changed type was and is now: what it takes to undo it."""
    changed: dict[str, Any] = {}
    for now in after:
        was = before[now.type]
        parts: dict[str, list[int] | list[str]] = {
            "quantity": [was.quantity, now.quantity],
            "size": [was.size, now.size],
        }
        differing = {name: pair for name, pair in parts.items() if pair[0] != pair[1]}
        if differing:
            changed[now.type] = differing
    return changed


def quantity_of(change: Change, current: int) -> int:
    """The number that a wish such as `+1` comes to; Invalid when it cannot be one."""
    if change.quantity is None:
        return current
    text = change.quantity.strip()
    digits = text.lstrip("+-")
    if not (
        digits.isascii() and digits.isdigit() and len(digits) <= 6 and len(text) - len(digits) <= 1
    ):
        raise faults.Invalid(
            f"Quantity {text[:20]!r} of {change.type} is not a number.",
            hint="Use a number, +N or -N, as in: oriel ps:scale web=2 worker+1",
        )
    number = current + int(text) if text[0] in "+-" else int(text)
    if not 0 <= number <= QUANTITY_MAX:
        raise faults.Invalid(
            f"{change.type} cannot be scaled to {number}: use 0 to {QUANTITY_MAX}."
        )
    return number


def _known(app: App, types: Mapping[str, TypeScale], wanted: str) -> TypeScale:
    ProcessType(wanted)
    if not types:
        raise faults.NotFound(
            f"No process types on {app.name}.",
            hint="Deploy a tree with a Procfile first: git push oriel main",
            resource="formation",
            app=app.name,
        )
    if wanted == RELEASE_TYPE:
        raise faults.Invalid("The release phase runs once for each release and does not scale.")
    if wanted not in types:
        raise faults.NotFound(
            f"{app.name} has no process type {wanted}: it has {', '.join(types)}.",
            hint="Process types come from the Procfile.",
            resource="formation",
            app=app.name,
        )
    return types[wanted]


def _size(text: str) -> str:
    size = text.lower()
    if size not in sizes.SIZES:
        raise faults.Invalid(
            f"Dyno size {text[:40]!r} is not known: use one of {', '.join(sizes.SIZES)}."
        )
    return size


def _formation(conn: Connection, app: App) -> list[TypeScale]:
    head = releases.head(conn, app.id)
    if head is None:
        return []
    scales = settings.quantities(conn, app.id)
    found = [
        TypeScale(
            type=type_,
            command=command,
            quantity=scales[type_].quantity if type_ in scales else 0,
            size=scales[type_].size if type_ in scales else "standard-1x",
            app=app,
            release=head.version,
        )
        for type_, command in head.process_types.items()
    ]
    return sorted(found, key=lambda each: (each.type != "web", each.type))
