"""Owns how a request that an old worker of HAProxy would begin is begun by the newest instead.

After a reload the old worker finishes what it has, for up to an hour. Its maps and its servers stay
what they were: 2.6 refuses to change a server of a worker that ends. So what it would only begin
now (a request that was held, one whose head was still under way) it hands over to the newest
worker: through the router's own port, from an address of the loopback's that nobody else uses, with
the client's address in front (PROXY protocol). That is believed only with the key, which stands in
the configuration alone. Lines of haproxy.cfg, for `render`.
"""

from __future__ import annotations

import hashlib
import ipaddress

from oriel.router.settings import Settings

MODE = "onward"
"""In a request's route, as the modes of apps are."""

WORKERS_MAX = 16
"""So many reloads a worker may outlive; then it is ended with all that it still carries."""

_HEADER = "x-oriel-onward"
_COMES = "{ var(sess.onward) -m found }"
_TOLD = "var(txn.onward),field({},:)"
_SPARE_S = 10.0


def target(settings: Settings) -> str:
    """Where the newest worker is reached; empty: there is no key, or only IPv6."""
    for listen in settings.web if settings.onward_key else ():
        if listen.host in ("", "localhost", "0.0.0.0"):  # noqa: S104 - it is compared
            return f"127.0.0.1:{listen.port}"
        if ":" not in listen.host:
            return f"{listen.host}:{listen.port}"
    return ""


def source(settings: Settings) -> str:
    """From where it is reached: of the loopback's 16 million addresses one of the upper half."""
    number = int.from_bytes(hashlib.sha256(settings.onward_key.encode()).digest()[:3], "big")
    return str(ipaddress.IPv4Address(0x7F800000 | number & 0x7FFFFF))


def comes(settings: Settings) -> list[str]:
    """In front of all rules for connections."""
    if not target(settings):
        return []
    return [
        f"  acl onward src {source(settings)}",
        "  tcp-request connection expect-proxy layer4 if onward",
    ]


def acl(settings: Settings) -> list[str]:
    """What says of a connection that another worker hands it over."""
    return ["onward"] if target(settings) else []


def known(settings: Settings) -> list[str]:
    """Behind the rules for connections."""
    if not target(settings):
        return []
    return ["  tcp-request session set-var(sess.onward) bool(true) if { fc_rcvd_proxy }"]


def nothing(settings: Settings) -> str:
    """Of a rule for ordinary requests: neither was it handed over, nor is it to be."""
    return f" !{_COMES} !{{ stopping }}" if target(settings) else ""


def begun(settings: Settings) -> list[str]:
    """What is believed of a request that was handed over: when it began, and how it came."""
    if not target(settings):
        return []
    unproven = f"if {_COMES} !{{ {_TOLD.format(1)} -m str {settings.onward_key} }}"
    lines = [
        f"  http-request set-var(txn.onward) req.fhdr({_HEADER}) if {_COMES}",
        f"  http-request set-log-level silent {unproven}",
        f"  http-request reject {unproven}",
        f"  http-request del-header {_HEADER} if {_COMES}",
        f"  http-request set-var(txn.t0) {_TOLD.format(2)},add(0) if {_COMES}",
        f"  http-request set-var(txn.version) {_TOLD.format(4)} if {_COMES}",
        f"  http-request set-var(sess.port) {_TOLD.format(5)} if {_COMES}",
    ]
    if settings.web_tls:
        over_tls = f"{_COMES} {{ {_TOLD.format(3)} -m sub tls }}"
        lines += [
            f"  http-request set-var(sess.secure) bool(true) if {over_tls}",
            f"  http-request set-var(sess.tls) {_TOLD.format(3)} if {over_tls}",
        ]
    return lines


def ending(settings: Settings) -> list[str]:
    """A worker that ends begins no request: behind what may have held it, before it is changed."""
    if not target(settings):
        return []
    return [
        "  # What a worker that ends would begin, the newest begins.",
        f"  http-request set-var-fmt(txn.route) '{MODE}|{MODE}|%[var(txn.route),field(3,|)]||||'"
        " if { stopping }",
        "  http-request allow if { stopping }",
    ]


def backend(settings: Settings) -> str:
    """The newest worker, as one that answers: it writes the line, and keeps all time limits."""
    if not target(settings):
        return ""
    wait_s = settings.boot_hold_s + settings.first_byte_timeout_s + _SPARE_S
    return (
        f"\nbackend {MODE} from all\n"
        f"  timeout server {round(wait_s)}s\n"
        "  http-request set-log-level silent\n"
        f'  http-request set-header {_HEADER} "{settings.onward_key}:%[var(txn.t0)]'
        ':%[var(sess.tls)]:%[var(txn.version,1.1)]:%[var(sess.port)]"\n'
        f"  server newest {target(settings)} source {source(settings)} maxconn 0 no-check"
        " send-proxy-v2\n"
    )
