"""Owns the doors to the domains of an app. One is named by its host, in either form, or its id."""

from __future__ import annotations

from starlette.responses import Response

from oriel import faults
from oriel.api import ranges, representations
from oriel.api.doors import Call, Door, reply, reply_page
from oriel.control import domains
from oriel.control.domains import DomainCard

_KEYS = {"hostname": lambda card: card.hostname, "id": lambda card: card.id}


async def show_all(call: Call) -> Response:
    """Where an app answers: its own host, then the domains that were added."""
    wanted = ranges.parse(call.request.headers.get("range"), tuple(_KEYS))
    found = await domains.list_domains(call.world, call.actor, call.path("app"))
    page: ranges.Page[DomainCard] = ranges.page(found, wanted, _KEYS)
    return reply_page(page, representations.domain)


async def add(call: Call) -> Response:
    """Add a domain: `hostname`, and `sni_endpoint` for the certificate to serve it with."""
    hostname = call.body.text("hostname", hint='Give one, as in {"hostname": "www.example.com"}.')
    made = await domains.add_domain(
        call.world, call.actor, call.path("app"), hostname, call.body.reference("sni_endpoint")
    )
    return reply(representations.domain(made), 201)


async def show(call: Call) -> Response:
    """One domain."""
    found = await domains.domain(call.world, call.actor, call.path("app"), call.path("domain"))
    return reply(representations.domain(found))


async def update(call: Call) -> Response:
    """Choose the certificate of a domain: `sni_endpoint`; null for whichever fits."""
    if "sni_endpoint" not in call.body:
        raise faults.Invalid('"sni_endpoint" is missing.', hint="Give one, or null.")
    changed = await domains.choose_certificate(
        call.world,
        call.actor,
        call.path("app"),
        call.path("domain"),
        call.body.reference("sni_endpoint"),
    )
    return reply(representations.domain(changed))


async def remove(call: Call) -> Response:
    """Remove a domain."""
    gone = await domains.remove_domain(
        call.world, call.actor, call.path("app"), call.path("domain")
    )
    return reply(representations.domain(gone))


async def clear(call: Call) -> Response:
    """Remove all domains of an app but its own host."""
    gone = await domains.clear_domains(call.world, call.actor, call.path("app"))
    return reply([representations.domain(each) for each in gone])


DOORS = (
    Door("GET", "/apps/{app}/domains", show_all),
    Door("POST", "/apps/{app}/domains", add),
    Door("GET", "/apps/{app}/domains/{domain}", show),
    Door("PATCH", "/apps/{app}/domains/{domain}", update),
    Door("DELETE", "/apps/{app}/domains/{domain}", remove),
    Door("POST", "/oriel/apps/{app}/domains/actions/clear", clear),
)
