"""Owns the doors to who may touch an app."""

from __future__ import annotations

from starlette.responses import Response

from oriel import faults
from oriel.api import representations
from oriel.api.doors import Call, Door, reply
from oriel.control import access


async def show_all(call: Call) -> Response:
    """Everybody with access."""
    app = await access.app_of(call.world, call.actor, call.path("app"))
    members = await access.collaborators(call.world, call.actor, app.id)
    return reply([representations.collaborator(each, app.id, app.name) for each in members])


async def show(call: Call) -> Response:
    """One of them, by e-mail address or id."""
    app = await access.app_of(call.world, call.actor, call.path("app"))
    named = call.path("email")
    for each in await access.collaborators(call.world, call.actor, app.id):
        shown = representations.collaborator(each, app.id, app.name)
        if named.lower() in (each.account.email, each.account.id, shown["id"]):
            return reply(shown)
    raise faults.NotFound("Couldn't find that collaborator.", resource="collaborator", app=app.name)


async def add(call: Call) -> Response:
    """Give somebody access."""
    email = _who(call)
    app = await access.app_of(call.world, call.actor, call.path("app"))
    member = await access.add_collaborator(call.world, call.actor, app.id, email)
    return reply(representations.collaborator(member, app.id, app.name), 201)


async def remove(call: Call) -> Response:
    """Take access away."""
    app = await access.app_of(call.world, call.actor, call.path("app"))
    member = await access.remove_collaborator(call.world, call.actor, app.id, call.path("email"))
    return reply(representations.collaborator(member, app.id, app.name))


def _who(call: Call) -> str:
    value = call.body.values.get("user")
    if isinstance(value, dict):
        value = value.get("email")
    if not isinstance(value, str):
        raise faults.Invalid('"user" is missing: give an e-mail address.')
    return value


DOORS = (
    Door("GET", "/apps/{app}/collaborators", show_all),
    Door("POST", "/apps/{app}/collaborators", add),
    Door("GET", "/apps/{app}/collaborators/{email}", show),
    Door("DELETE", "/apps/{app}/collaborators/{email}", remove),
)
