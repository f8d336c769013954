"""Owns the rules that each request passes: whose it is, what is refused, what its dyno is told, and
the line that is written of it.

Lines of haproxy.cfg, for `render`, in the order in which HAProxy goes through them. Each rule costs
every request that comes to it; `bench/router` shows how much.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from oriel.router import answers, onward, sticky, tls
from oriel.router.maps import CHALLENGES, MORE, NOBODY, PLAIN, UNKNOWN
from oriel.router.settings import Settings
from oriel.router.table import Listen

WILDCARD_LEVELS = 4
"""How many labels a wildcard may stand for."""

# The router line as it is when all went well. Whatever went otherwise is written into it where it
# is stored (`oriel.logplex.requests`), from the data in front of it.
_LINE = (
    'at=info method=%HM path="%[var(txn.path)]" host=%[var(txn.host)] request_id=%[var(txn.id)]'
    ' fwd="%[var(txn.fwd)]" dyno=%[srv_name,field(1,:)] connect=%Tc%[str(ms)]'
    " service=%[date(0,ms),sub(txn.t0)]%[str(ms)] status=%ST bytes=%B"
    " protocol=http%[var(txn.version,1.1)] tls="
)
_LINE_TLS = ("false", "%[var(sess.secure),iif(true,false),concat(,sess.tls)]")
"""Its end: where there is no TLS, and where there is."""
_DATA = (
    '[oriel channel="%[var(txn.route),field(3,|)]" server="%s" ts="%ts" own="%[var(txn.own)]"'
    ' n="%rt"]'
)


# For IPv4 HAProxy asks the kernel's connection tracking where a connection went, in case its port
# is redirected. Of one that is older than the tracking (`oriel up` has just switched it on) that
# may take one end for the other: the port would be the client's own (HAProxy's issue 3192).
_PORT = (
    "  tcp-request session set-var(sess.port) dst_port",
    "  tcp-request session set-var(sess.port) so_name if { src_port,sub(sess.port) eq 0 }",
)


def frontend(settings: Settings, paths: Mapping[str, Path]) -> str:
    """Host to app to slot, and the router line.

    An ordinary request of an app that is served leaves the rules in the middle (`_plain`). What
    is behind is only for the others: hosts that are found by a wildcard, apps that are not
    served or ask for more, what an old worker hands on, what is refused. What a dyno is told of
    its client is in the backends (`forwarded`).
    """
    lines = ["", "frontend web from all"]
    for listen in settings.web:
        lines += [f"  bind {each}" for each in bind_addresses(listen)]
    for listen in settings.web_tls:
        places = bind_addresses(listen)
        lines += [tls.bind(each, paths["fallback"], paths["certs"]) for each in places]
    lines += [
        f"  log 127.0.0.1:{settings.log_port} len 16384 format rfc5424 local3 info",
        "  log-tag router",
        f"  log-format-sd '{_DATA}'",
        f"  log-format '{_LINE}{_LINE_TLS[bool(settings.web_tls)]}'",
        *_guarded(settings),
        *_known(paths),
        *_plain(settings),
        *onward.begun(settings),
        *_found(paths),
        *_edge(settings),
        *_held(settings),
        *onward.ending(settings),
        *sticky.RECOGNISED,
        *_limited(settings, paths),
        *_served(),
        *answers.marked(settings),
        *sticky.told(settings),
        # Of a route that leads nowhere this names no backend.
        "  use_backend %[var(txn.route),field(1,|)]",
        "  default_backend nowhere",
    ]
    return "\n".join(lines) + "\n"


def bind_addresses(listen: Listen) -> tuple[str, ...]:
    """The `bind` lines of one place to listen; `localhost` is both loopbacks' IPv4 one.

    Each is named by its port, for `_PORT`.
    """
    port = f"{listen.port} name {listen.port}"
    if not listen.host:
        # Of one socket for both, a client's IPv4 address would be ::ffff:192.0.2.1 to dynos.
        return (f"0.0.0.0:{port}", f"[::]:{port} v6only")
    host = "127.0.0.1" if listen.host == "localhost" else listen.host
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}",)


def _guarded(settings: Settings) -> list[str]:
    """No address may take all connections; proxies that are trusted speak for many."""
    trusted = " ".join(settings.trusted)
    many = [*(["proxy"] if trusted else []), *onward.acl(settings)]
    tracked = f" unless {' or '.join(many)}" if many else ""
    return [
        *onward.comes(settings),
        *([f"  acl proxy src {trusted}"] if trusted else []),
        "  stick-table type ipv6 size 100k expire 10s store conn_cur",
        f"  tcp-request connection track-sc0 src{tracked}",
        "  tcp-request connection reject if"
        f" {{ sc0_conn_cur gt {2 * settings.client_connections_max} }}",
        # Once for each connection, and not for each request.
        "  tcp-request session set-var-fmt(sess.src) %[src]",
        *_PORT,
        *(["  tcp-request session set-var(sess.proxy) bool(true) if proxy"] if trusted else []),
        *(tls.KNOWN if settings.web_tls else ()),
        *onward.known(settings),
    ]


def _known(paths: Mapping[str, Path]) -> list[str]:
    """Which request is it, and whose; the fields of its line."""
    return [
        "  http-request set-var(txn.t0) date(0,ms)",
        "  http-request set-var(txn.path) pathq,bytes(0,4096)",
        "  http-request set-var(txn.version) req.ver if !HTTP_1.1",
        "  # The request's id: the client's own if it is one that cannot do harm.",
        "  http-request set-var(txn.id) uuid()",
        "  http-request set-var(txn.id) req.fhdr(x-request-id)"
        " if { req.fhdr(x-request-id) -m found } { req.fhdr_cnt(x-request-id) 1 }"
        " { req.fhdr(x-request-id) -m reg ^[A-Za-z0-9._~+/=-]{20,200}$ }",
        "  http-request set-var(txn.fwd) var(sess.src)",
        "  http-request set-var-fmt(txn.fwd) '%[req.fhdr(x-forwarded-for)], %[src]'"
        " if { req.fhdr(x-forwarded-for) -m reg ^[0-9A-Fa-f.:,\\ ]{2,200}$ }",
        "  # Unset: html.",
        "  http-request set-var(txn.form) str(json)"
        " if { req.hdr(accept) -m sub -i application/json }"
        " !{ req.hdr(accept) -m sub -i text/html }",
        "  # Host to app, app to SLOT|MODE|CHANNEL|PAGE|PAGE|DYNO|OPTIONS.",
        "  http-request set-var(txn.host) req.hdr(host),host_only,lower,rtrim(.)",
        "  http-request set-var(txn.route)"
        f" var(txn.host),map_str({paths['hosts']}),map_str({paths['apps']})",
    ]


def _plain(settings: Settings) -> list[str]:
    """Nothing is asked of the router but to bring it to a dyno."""
    return [
        "  # That is all that an ordinary request needs.",
        f"  http-request allow if {{ var(txn.route) -m beg {PLAIN} }}"
        f"{onward.nothing(settings)} !{_crowded(settings)} !{{ req.fhdr(expect) -m found }}",
    ]


def _crowded(settings: Settings) -> str:
    """Whether its client has more connections than one may have."""
    return f"{{ sc0_conn_cur gt {settings.client_connections_max} }}"


def _found(paths: Mapping[str, Path]) -> list[str]:
    """Whose it is, with the wildcards: the longest `*.` and part of the host that has an app."""
    return [
        f"  http-request set-var(txn.app) var(txn.host),map_str({paths['hosts']})",
        *(
            "  http-request set-var(txn.app) 'var(txn.host),"
            f"""regsub("^([^.]+[.]){{{level}}}[^.]+",*),map_str({paths["hosts"]})'"""
            " if !{ var(txn.app) -m found }"
            for level in range(WILDCARD_LEVELS)
        ),
        "  http-request set-var(txn.route)"
        f" var(txn.app,{NOBODY}),map_str({paths['apps']},{UNKNOWN})",
    ]


def _edge(settings: Settings) -> list[str]:
    """What is answered whatever the app's dynos do: the mode says so from here on."""

    def turn(mode: str) -> str:
        rest = "|".join(f"%[var(txn.route),field({number},|)]" for number in (3, 4, 5))
        return f"  http-request set-var-fmt(txn.route) '-|{mode}|{rest}||'"

    challenge = f"{{ path_beg {CHALLENGES} }} {{ var(txn.route),field(7,|) -m beg acme }}"
    plain = "{ var(txn.route) -m end https } !{ var(sess.secure) -m bool }"
    when = f"if {plain}"
    if settings.trusted:
        when = f"if {plain} !proxy or {plain} !{{ req.fhdr(x-forwarded-proto) https }}"
    return [
        "  # A certificate authority asks whether the host is ours; http is sent to https.",
        f"{turn('acme')} if {challenge}",
        *([f"{turn('https')} {when}"] if settings.web_tls else []),
    ]


def _held(settings: Settings) -> list[str]:
    """A request of a booting or idle app waits, and then meets what the app has become."""
    if not settings.boot_hold_s:
        return []
    waits = " or ".join(f"{{ var(txn.route) -m sub |{mode}| }}" for mode in ("booting", "idle"))
    return [f"  http-request lua.hold if {waits}"]


def _limited(settings: Settings, paths: Mapping[str, Path]) -> list[str]:
    """What is refused whosever it is."""
    return [
        f"  http-request return status 503{answers.page(paths, 'error', 'H22')}"
        f" if {_crowded(settings)}",
        f"  http-request return status 417{answers.page(paths, 'error', '417')}"
        " if { req.hdr_cnt(expect) gt 0 } !{ req.hdr(expect) -i 100-continue }",
    ]


def _served() -> list[str]:
    """Of the others too some are served: from here on their routes name a backend."""
    return [
        f"  http-request set-var(txn.route) var(txn.route),ltrim({MORE})"
        " if { var(txn.route) -m sub |serve| }"
    ]


def forwarded(settings: Settings) -> list[str]:
    """The headers that tell a dyno of its client: for the backends of dynos."""
    proto, port = "", ""
    secure = "var(sess.secure)" if settings.web_tls else "ssl_fc"
    if settings.trusted:
        known = " unless { var(sess.proxy) -m found }"
        proto = known + " { req.fhdr(x-forwarded-proto) -m reg ^https?$ }"
        port = known + " { req.fhdr(x-forwarded-port) -m reg ^[0-9]{1,5}$ }"
    return [
        "  http-request set-header X-Request-Id %[var(txn.id)]",
        "  http-request set-header X-Forwarded-For %[var(txn.fwd)]",
        f"  http-request set-header X-Forwarded-Proto %[{secure},iif(https,http)]{proto}",
        f"  http-request set-header X-Forwarded-Port %[var(sess.port)]{port}",
        "  http-request set-header X-Request-Start %[var(txn.t0)]",
        '  http-request add-header Via "%[var(txn.version,1.1)] oriel-router"',
    ]
