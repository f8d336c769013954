"""Owns the doors to apps as a whole."""

from __future__ import annotations

from starlette.responses import Response

from oriel import faults
from oriel.api import ranges, representations
from oriel.api.bodies import Body
from oriel.api.doors import Call, Door, reply, reply_page
from oriel.control import apps
from oriel.control.apps import AppCard
from oriel.ledger.apps import STACK

_KEYS = {"name": lambda card: card.app.name, "id": lambda card: card.app.id}


async def show_all(call: Call) -> Response:
    """Every app of the caller's."""
    wanted = ranges.parse(call.request.headers.get("range"), tuple(_KEYS))
    cards = await apps.list_apps(call.world, call.actor)
    page: ranges.Page[AppCard] = ranges.page(cards, wanted, _KEYS)
    return reply_page(page, representations.app)


async def create(call: Call) -> Response:
    """A new app; its name may be left to us."""
    _check_place(call.body)
    card = await apps.create_app(call.world, call.actor, call.body.optional_text("name"))
    return reply(representations.app(card), 201)


async def show(call: Call) -> Response:
    """One app."""
    card = await apps.app(call.world, call.actor, call.path("app"))
    return reply(representations.app(card))


async def change(call: Call) -> Response:
    """Rename an app, or set its maintenance mode."""
    body, named = call.body, call.path("app")
    name, maintenance = body.optional_text("name"), body.optional_flag("maintenance")
    card = await apps.app(call.world, call.actor, named)
    _check_stack(body, card.app.stack)
    stacked = "build_stack" in body or "stack" in body
    if name is None and maintenance is None and not stacked:
        raise faults.Invalid('Nothing to change: give "name" or "maintenance".')
    if maintenance is not None:
        card = await apps.set_maintenance(call.world, call.actor, card.app.id, maintenance)
    if name is not None:
        card = await apps.rename_app(call.world, call.actor, card.app.id, name)
    return reply(representations.app(card))


async def destroy(call: Call) -> Response:
    """Take an app away."""
    card = await apps.destroy_app(call.world, call.actor, call.path("app"))
    return reply(representations.app(card))


async def stacks(call: Call) -> Response:
    """The stacks there are: one."""
    return reply([representations.stack(STACK)])


async def stack(call: Call) -> Response:
    """A stack, by name or id."""
    shown = representations.stack(STACK)
    if call.path("stack") not in (shown["name"], shown["id"]):
        raise faults.NotFound("Couldn't find that stack.", resource="stack")
    return reply(shown)


def _check_place(body: Body) -> None:
    if body.reference("region") not in (None, "us"):
        raise faults.Invalid('"region" can only be us: this installation is one place.')
    for key in ("team", "organization", "space"):
        if body.reference(key) is not None:
            raise faults.Invalid(f'"{key}" cannot be given: apps belong to accounts here.')
    _check_stack(body, STACK)


def _check_stack(body: Body, stack_name: str) -> None:
    for key in ("build_stack", "stack"):
        if body.reference(key) not in (None, stack_name):
            raise faults.Invalid(f'"{key}" can only be {stack_name}.')


DOORS = (
    Door("GET", "/apps", show_all),
    Door("GET", "/users/~/apps", show_all),
    Door("POST", "/apps", create),
    Door("GET", "/apps/{app}", show),
    Door("PATCH", "/apps/{app}", change),
    Door("DELETE", "/apps/{app}", destroy),
    Door("GET", "/stacks", stacks),
    Door("GET", "/stacks/{stack}", stack),
)
