"""Owns the doors to scaling. Quantities come as numbers or as text, `+1` and `-1` too."""

from __future__ import annotations

from starlette.responses import Response

from oriel import faults
from oriel.api import representations
from oriel.api.bodies import Body
from oriel.api.doors import Call, Door, reply
from oriel.control import formation
from oriel.control.formation import Change, TypeScale

UPDATES_MAX = 100


async def show_all(call: Call) -> Response:
    """Every process type of an app."""
    types = await formation.formation(call.world, call.actor, call.path("app"))
    return reply([representations.formation(each) for each in types])


async def show(call: Call) -> Response:
    """One process type, by name or id."""
    types = await formation.formation(call.world, call.actor, call.path("app"))
    return reply(representations.formation(_pick(types, call.path("type"))))


async def change_all(call: Call) -> Response:
    """Change quantities and sizes of several types; answers the whole formation."""
    updates = call.body.objects("updates")
    if len(updates) > UPDATES_MAX:
        raise faults.Invalid(f'"updates" has more than {UPDATES_MAX} entries.')
    changes = [_change(each, each.text("type")) for each in updates]
    types = await formation.scale(call.world, call.actor, call.path("app"), changes)
    return reply([representations.formation(each) for each in types])


async def change(call: Call) -> Response:
    """Change one type."""
    named = call.path("type")
    types = await formation.scale(
        call.world, call.actor, call.path("app"), [_change(call.body, named)]
    )
    return reply(representations.formation(_pick(types, named)))


def _change(body: Body, type_: str) -> Change:
    quantity = _quantity(body)
    size = body.reference("size") or body.reference("dyno_size")
    if quantity is None and size is None:
        raise faults.Invalid(f'Nothing to change of {type_[:60]}: give "quantity" or "size".')
    return Change(type_, quantity, size.lower() if size else None)


def _quantity(body: Body) -> str | None:
    value = body.values.get("quantity")
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value < 10**6:
            raise faults.Invalid('"quantity" has to be a number that is not negative.')
        return str(value)
    if value is not None and not isinstance(value, str):
        raise faults.Invalid('"quantity" has to be a number, or text such as "+1".')
    if value is not None and not value.strip():
        raise faults.Invalid('"quantity" is empty.')
    return value


def _pick(types: list[TypeScale], named: str) -> TypeScale:
    for each in types:
        if named in (each.type, representations.formation(each)["id"]):
            return each
    raise faults.NotFound("Couldn't find that process type.", resource="formation")


DOORS = (
    Door("GET", "/apps/{app}/formation", show_all),
    Door("PATCH", "/apps/{app}/formation", change_all),
    Door("GET", "/apps/{app}/formation/{type}", show),
    Door("PATCH", "/apps/{app}/formation/{type}", change),
)
