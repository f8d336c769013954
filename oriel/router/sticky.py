"""Owns how a client of a sticky app comes back to its dyno: by a cookie that names it.

Lines of haproxy.cfg, for `render`. A cookie can only ask for a server of the app's own slot.
"""

from __future__ import annotations

from oriel.router.settings import Settings

COOKIE = "oriel-session-affinity"
_STICKY = "{ var(txn.sticky) -m found }"

RECOGNISED = (
    "  # A client of a sticky app asks for the dyno that it had.",
    "  http-request set-var(txn.sticky) bool(true) if { var(txn.route),field(7,|) -m sub sticky }",
    f"  http-request set-var(txn.stuck) req.cook({COOKIE}) if {_STICKY}",
)
"""In the frontend, where the route stands."""

SERVED = "  use-server %[var(txn.stuck)] if { var(txn.stuck) -m found }\n"
"""In each slot; a server that is not there, or not up, is not used."""

_RULE = "  http-after-response"
_NAMED = "if { var(txn.cookie) -m found }"


def secured(settings: Settings) -> list[str]:
    """In each slot, behind what tells a dyno how its client came: such a cookie goes by TLS."""
    if not (settings.web_tls or settings.trusted):
        return []
    return [
        f"  http-request set-var(txn.secure) 'str(; Secure)' if {_STICKY}"
        " { req.hdr(x-forwarded-proto) https }"
    ]


def told(settings: Settings) -> list[str]:
    """In the frontend, behind what marks HAProxy's own answers."""
    secure = "%[var(txn.secure)]" if secured(settings) else ""
    return [
        # The client has none, or its dyno is gone; HAProxy's own answers name nobody.
        f"{_RULE} set-var(txn.cookie) srv_name if {_STICKY} {{ srv_name -m found }}"
        " !{ var(txn.own) -m found } !{ srv_name,strcmp(txn.stuck) eq 0 }",
        f'{_RULE} add-header Set-Cookie "{COOKIE}=%[var(txn.cookie)]; Path=/; HttpOnly{secure}"'
        f" {_NAMED}",
        # A cache must not give one client's dyno to others.
        f"{_RULE} set-header Cache-Control private {_NAMED}"
        " !{ res.hdr(cache-control) -m sub private no-store }",
    ]
