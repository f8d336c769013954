"""Owns the doors to the certificates of an app, and to automatic ones. No key ever goes out."""

from __future__ import annotations

from starlette.responses import Response

from oriel.api import representations
from oriel.api.doors import Call, Door, reply
from oriel.control import apps, certs, certs_auto

_HINT = 'Give two, as in {"certificate_chain": "-----BEGIN...", "private_key": "-----BEGIN..."}.'


async def show_all(call: Call) -> Response:
    """An app's certificates."""
    found = await certs.list_certificates(call.world, call.actor, call.path("app"))
    return reply([representations.certificate(each) for each in found])


async def add(call: Call) -> Response:
    """Add a certificate: `certificate_chain` and `private_key`, PEM."""
    made = await certs.add_certificate(call.world, call.actor, call.path("app"), *_pair(call))
    return reply(representations.certificate(made), 201)


async def show(call: Call) -> Response:
    """One certificate."""
    found = await certs.certificate(call.world, call.actor, call.path("app"), call.path("cert"))
    return reply(representations.certificate(found))


async def update(call: Call) -> Response:
    """Put another certificate in the place of one."""
    made = await certs.update_certificate(
        call.world, call.actor, call.path("app"), call.path("cert"), *_pair(call)
    )
    return reply(representations.certificate(made))


async def remove(call: Call) -> Response:
    """Remove a certificate with its key."""
    gone = await certs.remove_certificate(
        call.world, call.actor, call.path("app"), call.path("cert")
    )
    return reply(representations.certificate(gone))


async def enable(call: Call) -> Response:
    """Switch automatic certificates on."""
    found = await certs_auto.enable(call.world, call.actor, call.path("app"))
    return await _app(call, found.id)


async def disable(call: Call) -> Response:
    """Switch automatic certificates off; those that there are go."""
    found = await certs_auto.disable(call.world, call.actor, call.path("app"))
    return await _app(call, found.id)


async def refresh(call: Call) -> Response:
    """Try those again that failed."""
    await certs_auto.refresh(call.world, call.actor, call.path("app"))
    return await _app(call, call.path("app"))


async def _app(call: Call, app: str) -> Response:
    return reply(representations.app(await apps.app(call.world, call.actor, app)))


def _pair(call: Call) -> tuple[str, str]:
    body = call.body
    return body.text("certificate_chain", hint=_HINT), body.text("private_key", hint=_HINT)


DOORS = (
    Door("GET", "/apps/{app}/sni-endpoints", show_all),
    Door("POST", "/apps/{app}/sni-endpoints", add),
    Door("GET", "/apps/{app}/sni-endpoints/{cert}", show),
    Door("PATCH", "/apps/{app}/sni-endpoints/{cert}", update),
    Door("DELETE", "/apps/{app}/sni-endpoints/{cert}", remove),
    Door("POST", "/apps/{app}/acm", enable),
    Door("PATCH", "/apps/{app}/acm", refresh),
    Door("DELETE", "/apps/{app}/acm", disable),
)
