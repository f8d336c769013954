"""Owns how a request that an old worker of HAProxy would begin is begun by the newest instead.

After a reload the old worker finishes what it has, for up to an hour. Its maps and its servers stay
what they were: 2.6 refuses to change a server of a worker that ends. So what it would only begin
now (a request that was held, one whose head was still under way) it hands over to the newest
worker, with the client's address, through an abstract Unix socket. A worker that is handed
something believes it only with the key, which is in the configuration alone. Lines of haproxy.cfg,
for `render`.
"""

from __future__ import annotations

import hashlib

from oriel.router.settings import Settings

MODE = "onward"
"""In a request's route, as the modes of apps are."""

WORKERS_MAX = 16
"""So many reloads a worker may outlive; then it is ended with all that it still carries."""

HANDED = f"{{ var(txn.route) -m beg -- -|{MODE}| }}"
"""Whether a request goes onward: a condition."""

_SOCKET = "onward"
_SPARE_S = 10.0


def socket_name(settings: Settings) -> str:
    """The abstract socket's name: one for each data directory, and no way back to its key."""
    return f"oriel-onward-{hashlib.sha256(settings.onward_key.encode()).hexdigest()[:20]}"


def listens(settings: Settings) -> list[str]:
    """In the frontend: where a worker is handed requests, by whom, and what it is told of them."""
    if not settings.onward_key:
        return []
    told = "fc_pp_unique_id,field({},:)"
    secure = f"{{ so_name {_SOCKET} }} {{ {told.format(3)} -m sub tls }}"
    lines = [
        f"  bind abns@{socket_name(settings)} name {_SOCKET} accept-proxy",
        f"  unique-id-format {settings.onward_key}:%[var(txn.t0)]:%[var(sess.tls)]",
        f"  tcp-request session reject if {{ so_name {_SOCKET} }}"
        f" !{{ {told.format(1)} -m str {settings.onward_key} }}",
    ]
    if settings.web_tls:
        lines += [
            f"  tcp-request session set-var(sess.secure) bool(true) if {secure}",
            f"  tcp-request session set-var(sess.tls) {told.format(3)} if {secure}",
        ]
    return lines


def begun(settings: Settings) -> list[str]:
    """When a request that was handed over began; of any other the fetch finds nothing."""
    if not settings.onward_key:
        return []
    return ["  http-request set-var(txn.t0) fc_pp_unique_id,field(2,:),add(0)"]


def ending(settings: Settings) -> list[str]:
    """A worker that ends begins no request: before it would be held."""
    if not settings.onward_key:
        return []
    return [
        "  # What a worker that ends would begin, the newest begins.",
        f"  http-request set-var-fmt(txn.route) '-|{MODE}|%[var(txn.route),field(3,|)]||||'"
        " if { stopping }",
    ]


def passed(settings: Settings) -> list[str]:
    """As it came: behind what may have held it."""
    return [f"  http-request allow if {HANDED}"] if settings.onward_key else []


def chosen(settings: Settings) -> list[str]:
    """Which backend it goes to."""
    return [f"  use_backend {MODE} if {HANDED}"] if settings.onward_key else []


def unless(settings: Settings) -> str:
    """Of a rule that the newest worker follows too: not here."""
    return f" unless {HANDED}" if settings.onward_key else ""


def backend(settings: Settings) -> str:
    """The newest worker, as one that answers: it writes the line, and keeps all time limits."""
    if not settings.onward_key:
        return ""
    wait_s = settings.boot_hold_s + settings.first_byte_timeout_s + _SPARE_S
    return (
        f"\nbackend {MODE}\n"
        f"  timeout server {round(wait_s)}s\n"
        "  http-request set-log-level silent\n"
        f"  server newest abns@{socket_name(settings)} maxconn 0 no-check send-proxy-v2"
        " proxy-v2-options unique-id\n"
    )
