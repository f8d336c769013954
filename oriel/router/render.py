"""Owns the text of haproxy.cfg and its maps: a pure rendering of routes in their places.

Must not know files, sockets or what HAProxy runs just now. The configuration is one commit point:
it names its maps by a digest of their content, so that a kill between two writes leaves the old
set or the new one, never a mixture.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as files_of
from pathlib import Path
from urllib.parse import quote

from oriel.router import sticky, tls
from oriel.router.pages import halves
from oriel.router.table import PAGE_SAFE, AppRoute, Listen, RouteTable, Server

NOBODY = "-"
"""An app id that no app has."""

CHALLENGES = "/.well-known/acme-challenge/"

WILDCARD_LEVELS = 4
"""How many labels a wildcard may stand for."""

LAYOUT_VERSION = 4
"""Of the form of map entries and slot names; a reader of another version renders anew."""

_QUOTABLE = re.compile(r"[^\s'\"\\$#\x00-\x1f\x7f]+")
_DESCRIPTION = re.compile(r"oriel-router v([0-9]+) layout=([0-9a-f]{16}) slots=([0-9]+)")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the router is told once, at start."""

    directory: Path
    runtime_socket: Path
    web: tuple[Listen, ...]
    log_port: int
    web_tls: tuple[Listen, ...] = ()
    """Where it listens with TLS; the route table has the certificates."""
    user: str | None = None
    """Whom HAProxy becomes after it has bound its ports; None: it stays who it is."""
    threads: int = 1
    connections_max: int | None = None
    """None: HAProxy derives it from its limit of open files."""
    client_connections_max: int = 1000
    """Of one address: over it requests are refused (H22), over twice it connections."""
    trusted: tuple[str, ...] = ()
    """Networks of proxies whose X-Forwarded-Proto and -Port are believed."""
    dyno_requests_max: int = 1000
    """What one dyno gets at once, websockets too; more of them queue."""
    dyno_backlog_max: int = 50
    """How many may queue for each dyno of an app; more are refused (H11)."""
    quarantine_s: float = 0.5
    """How often a dyno that accepted no connection is tried again."""
    head_timeout_s: float = 30
    """How long a client may take to send a request's head."""
    spares: int = 32
    """Empty slots rendered ahead, so that an app's coming needs no reload."""
    connect_timeout_s: float = 5
    first_byte_timeout_s: float = 30
    idle_timeout_s: float = 55
    boot_hold_s: float = 75
    """How long a request waits for a booting app; 0: it is refused at once (no Lua there)."""
    waker: str = ""
    """The abstract Unix socket that is told of a request of an idle app; empty: none is."""

    def __post_init__(self) -> None:
        """No path or name that would need quoting enters a configuration."""
        for path in (self.directory, self.runtime_socket):
            if not path.is_absolute() or not _QUOTABLE.fullmatch(str(path)):
                raise ValueError(f"{str(path)!r} must be absolute, without spaces or quotes.")
        for each in self.trusted:
            ipaddress.ip_network(each)
        if self.user is not None and not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", self.user):
            raise ValueError(f"{self.user!r} is not a user's name.")
        if not re.fullmatch(r"[a-z0-9-]{0,64}", self.waker):
            raise ValueError(f"{self.waker!r} is not a socket's name.")


@dataclass(frozen=True, slots=True)
class Places:
    """Which slot each app has, by app id, and how many slots there are."""

    slots: int
    by_app: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a configuration says of itself in `show info`: which layout is loaded."""

    layout: str
    slots: int
    version: int = LAYOUT_VERSION

    def __str__(self) -> str:
        """The text of the `description` line."""
        return f"oriel-router v{self.version} layout={self.layout} slots={self.slots}"

    @classmethod
    def find(cls, text: str) -> Stamp | None:
        """The stamp in a configuration's text or in `show info`."""
        match = _DESCRIPTION.search(text)
        return cls(match[2], int(match[3]), int(match[1])) if match else None


@dataclass(frozen=True, slots=True)
class Rendered:
    """A whole configuration: its text, the files that it names, and its stamp."""

    config: str
    files: Mapping[str, str]
    stamp: Stamp


def slot_name(slot: int) -> str:
    """A backend's name."""
    return f"slot-{slot:04d}"


def host_entries(table: RouteTable) -> dict[str, str]:
    """The map from host, or `*.` and a part of one, to app id; the platform's own lead nowhere."""
    return {
        **dict.fromkeys(table.reserved, NOBODY),
        **{host: app.app_id for app in table.apps for host in app.hosts},
    }


def app_entries(table: RouteTable, places: Places) -> dict[str, str]:
    """The map from app id to `SLOT|MODE|CHANNEL|PAGE|PAGE|DYNO|OPTIONS`: one entry, that changes
    at once.

    The pages are the app's own, by their digests: for errors, for maintenance. The dyno is named
    where there is only one. Of the options, `acme` and `https` are answered before any dyno.
    """
    return {app.app_id: "|".join(_entry(app, places.by_app[app.app_id])) for app in table.apps}


def _entry(app: AppRoute, slot: int) -> tuple[str, ...]:
    only = app.servers[0].name if len(app.servers) == 1 else ""
    pages = (page_key(app.error_page), page_key(app.maintenance_page))
    options = {"acme": app.challenges is not None, "sticky": app.sticky, "https": app.https}
    # In this order: the rules look at the beginning for the first, and at the end for the last.
    chosen = "+".join(word for word, is_on in options.items() if is_on)
    return (slot_name(slot), app.mode, app.channel, *pages, only, chosen)


def challenge_entries(table: RouteTable) -> dict[str, str]:
    """The map from host and path to what a certificate authority is to be answered."""
    return {
        f"{host}{CHALLENGES}{token}": answer
        for app in table.apps
        for (host, token), answer in (app.challenges or {}).items()
    }


def page_key(page: str) -> str:
    """What an app's own page is called in the map; empty without one."""
    return _digest(page) if page else ""


def page_entries(table: RouteTable) -> dict[str, str]:
    """The map of apps' own pages, by what they are called. The request's id is in a comment."""
    pages = {page for app in table.apps for page in (app.error_page, app.maintenance_page) if page}
    entries: dict[str, str] = {}
    for page in pages:
        text = f"{page} <!-- request "
        # A command whose last word begins with `<<` would wait for more lines.
        encoded = quote(text[0], safe="") + quote(text[1:], safe=PAGE_SAFE)
        entries[f"{page_key(page)}:before:html"] = encoded
        entries[f"{page_key(page)}:after:html"] = quote(" -->", safe=PAGE_SAFE)
    return entries


MAPS: Mapping[str, Callable[[RouteTable, Places], dict[str, str]]] = {
    "pages": lambda table, places: page_entries(table),
    "challenges": lambda table, places: challenge_entries(table),
    "apps": lambda table, places: app_entries(table, places),
    "hosts": lambda table, places: host_entries(table),
}
"""The maps that change while HAProxy runs, each before those that lead to it."""


def _default_pages(side: str) -> dict[str, str]:
    """The map of the router's own pages, before or after the request's id."""
    entries: dict[str, str] = {}
    for key, page in halves().items():
        form, name = key.split(":")
        key = f":{name}:{form}" if name in _PAGE_FIELDS and form == "html" else key
        entries[key] = str(getattr(page, side))
    return entries


def address(server: Server) -> str:
    """A server's address as HAProxy reads it."""
    return (
        f"[{server.host}]:{server.port}" if ":" in server.host else f"{server.host}:{server.port}"
    )


def render(table: RouteTable, places: Places, settings: Settings) -> Rendered:
    """The configuration that serves `table` from the moment HAProxy reads it."""
    contents = {
        **{kind: _map_text(entries(table, places)) for kind, entries in MAPS.items()},
        "before": _map_text(_default_pages("before")),
        "after": _map_text(_default_pages("after")),
    }
    files = {f"{kind}.{_digest(text)}.map": text for kind, text in contents.items()}
    paths = {name.split(".")[0]: settings.directory / name for name in files}
    hold = _hold_text(settings, paths["apps"])
    paths["hold"] = settings.directory / f"hold.{_digest(hold)}.lua"
    files[paths["hold"].name] = hold
    if settings.web_tls:
        secure = tls.files(table, settings.directory)
        files.update(secure.contents)
        paths["certs"] = settings.directory / secure.list
        paths["fallback"] = settings.directory / secure.fallback
    fixed = _fixed(settings, paths)
    # The layout is what only a reload can change; the rest changes through the socket.
    loose = {**paths, **{name: Path(name) for name in _LOOSE}}
    stamp = Stamp(
        _digest(
            _fixed(settings, loose)
            + _hold_text(settings, loose["apps"])
            + _backends(RouteTable(), Places(1, {}), settings, loose)
        ),
        places.slots,
    )
    config = fixed.replace(_STAMP, str(stamp)) + _backends(table, places, settings, paths)
    return Rendered(config, files, stamp)


_STAMP = "@STAMP@"
_LOOSE = (*MAPS, "hold", "certs", "fallback")
_SLOT = """\

backend {name}
  balance leastconn
  http-request return status 503{refusal} if {{ avg_queue ge {backlog} }}
"""


def _backends(
    table: RouteTable, places: Places, settings: Settings, paths: Mapping[str, Path]
) -> str:
    """Every slot, with the servers of the app that has it."""
    holders: dict[int, AppRoute] = {places.by_app[app.app_id]: app for app in table.apps}
    refusal, backlog = _page(paths, "error", "H11"), settings.dyno_backlog_max
    parts: list[str] = []
    for slot in range(places.slots):
        parts.append(_SLOT.format(name=slot_name(slot), refusal=refusal, backlog=backlog))
        parts.append(sticky.SERVED)
        if app := holders.get(slot):
            parts += [f"  server {each.label} {address(each)}\n" for each in app.servers]
    return "".join(parts)


@cache
def _resource(name: str) -> str:
    """A file of this package."""
    return files_of(__package__).joinpath(name).read_text("utf-8")


def _hold_text(settings: Settings, apps: Path) -> str:
    """The little program that lets a request wait for its app."""
    text = _resource("hold.lua").replace("{{apps}}", str(apps))
    text = text.replace("{{waker}}", settings.waker)
    return text.replace("{{hold_ms}}", str(round(settings.boot_hold_s * 1000)))


def _map_text(entries: Mapping[str, str]) -> str:
    """A map file: one key and its value a line."""
    return "".join(f"{key} {value}\n" for key, value in sorted(entries.items()))


def _digest(text: str) -> str:
    """A short name for a content."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _ms(duration_s: float) -> str:
    """A duration as HAProxy reads it."""
    return f"{round(duration_s * 1000)}ms"


def bind_addresses(listen: Listen) -> tuple[str, ...]:
    """The `bind` lines of one place to listen; `localhost` is both loopbacks' IPv4 one."""
    if not listen.host:
        return (f"[::]:{listen.port} v4v6",)
    host = "127.0.0.1" if listen.host == "localhost" else listen.host
    return (f"[{host}]:{listen.port}" if ":" in host else f"{host}:{listen.port}",)


# The router line as it is when all went well. Whatever went otherwise is written into it where it
# is stored (`oriel.logplex.requests`), from the data in front of it.
_LINE = (
    'at=info method=%HM path="%[var(txn.path)]" host=%[var(txn.host)] request_id=%[var(txn.id)]'
    ' fwd="%[var(txn.fwd)]" dyno=%[srv_name,field(1,:)] connect=%Tc%[str(ms)]'
    " service=%[date(0,ms),sub(txn.t0)]%[str(ms)] status=%ST bytes=%B"
    " protocol=http%[var(txn.version)] tls="
)
_LINE_TLS = ("false", "%[ssl_fc,iif(true,false),concat(,sess.tls)]")
"""Its end: where there is no TLS, and where there is."""
_DATA = (
    '[oriel channel="%[var(txn.route),field(3,|)]" server="%s" ts="%ts" own="%[var(txn.own)]"'
    ' n="%rt"]'
)
_OWN = "x-oriel-own"
_UNKNOWN = "-|unknown|-||||"
"""The route of a host that is no app's."""
_RETRIES = 3

_REFUSALS: tuple[tuple[str, int, str, str], ...] = (
    # mode, status, code, page
    ("maintenance", 503, "H80", "maintenance"),
    ("blank", 502, "H81", "blank"),
    ("crashed", 503, "H10", "error"),
    ("none", 503, "H14", "error"),
    ("booting", 503, "H20", "booting"),
    ("idle", 503, "H20", "booting"),
)

_OWN_STATUSES = (400, 401, 403, 404, 405, 407, 408, 410, 413, 421, 422, 425, 429)
_OWN_FAILURES = (500, 501, 502, 503, 504)
_HEADERS_BYTES = 20_000
"""What an answer's head may have; over it (and under HAProxy's buffer) it is H25."""


_PAGE_FIELDS = {"error": 4, "maintenance": 5}
"""Pages that an app may have of its own, and where in its route they are named."""


def _page(paths: Mapping[str, Path], page: str, own: str) -> str:
    """A page around the request's id, or the app's own one; `own` is what the reader is told."""
    form = f"var(txn.form),concat(:{page})"
    sides = []
    for side in ("before", "after"):
        parts = [f"%[{form},map_str({paths[side]})]"]
        if page in _PAGE_FIELDS:
            # DIGEST:FORM is there for the app's own page in HTML, :PAGE:FORM for the router's.
            digest = f"var(txn.route),field({_PAGE_FIELDS[page]},|)"
            own_page = f"%[{digest},concat(:{side}:,txn.form),map_str({paths['pages']}),url_dec]"
            parts += [own_page, f"%[{digest},concat(:{page}:,txn.form),map_str({paths[side]})]"]
        sides.append("".join(parts))
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src * data:"
    return (
        ' content-type "text/html; charset=utf-8"'
        f' lf-string "{sides[0]}%[var(txn.id)]{sides[1]}"'
        f" hdr {_OWN} {own} hdr cache-control no-store hdr x-content-type-options nosniff"
        f' hdr content-security-policy "{policy}"'
    )


def _fixed(settings: Settings, paths: Mapping[str, Path]) -> str:
    """All but the slots."""
    return "".join(
        [
            _global(settings, paths),
            _defaults(settings, paths),
            _frontend(settings, paths),
            _nowhere(settings, paths),
        ]
    )


def _global(settings: Settings, paths: Mapping[str, Path]) -> str:
    """The process: who it is, how much it may take, where it is told things."""
    lines = [
        "# Written by Oriel; changes made here are lost.",
        "global",
        f"  description {_STAMP}",
        f"  stats socket {settings.runtime_socket} mode 600 level admin expose-fd listeners",
        "  stats timeout 30s",
        "  log-send-hostname oriel",
        f"  nbthread {settings.threads}",
        "  tune.bufsize 32768",
        "  tune.maxrewrite 4096",
        "  tune.http.maxhdr 128",
        "  hard-stop-after 1h",
        *(tls.GLOBAL if settings.web_tls else ()),
    ]
    if settings.boot_hold_s:
        lines.append(f"  lua-load-per-thread {paths['hold']}")
    if settings.connections_max is not None:
        lines.append(f"  maxconn {settings.connections_max}")
    if settings.user is not None:
        lines.append(f"  user {settings.user}")
    return "\n".join(lines) + "\n"


def _defaults(settings: Settings, paths: Mapping[str, Path]) -> str:
    """Time limits, retries, and the pages of HAProxy's own errors.

    2.6 has one limit for the first byte and for silence afterwards; the first byte's is kept.
    """
    idle = _ms(settings.idle_timeout_s)
    lines = [
        "",
        "defaults",
        "  mode http",
        f"  timeout connect {_ms(settings.connect_timeout_s)}",
        f"  timeout server {_ms(settings.first_byte_timeout_s)}",
        f"  timeout queue {_ms(settings.first_byte_timeout_s)}",
        f"  timeout http-request {_ms(settings.head_timeout_s)}",
        f"  timeout http-keep-alive {idle}",
        f"  timeout client {idle}",
        f"  timeout tunnel {idle}",
        "  timeout client-fin 10s",
        f"  retries {_RETRIES}",
        "  retry-on conn-failure",
        "  option redispatch 1",
        # No idle connection to a dyno: none is there to be cut when the dyno goes.
        "  option http-server-close",
        "  option tcp-smart-connect",
        "  option abortonclose",
        "  option dontlognull",
        "  option http-ignore-probes",
        f"  default-server {server_options(settings)}",
    ]
    for status in _OWN_FAILURES + _OWN_STATUSES:
        lines.append(f"  http-error status {status}{_page(paths, 'error', str(status))}")
    return "\n".join(lines) + "\n"


def server_options(settings: Settings) -> str:
    """How each dyno is watched: by its requests, and by connecting only while it is quarantined."""
    check_ms = round(settings.quarantine_s * 1000)
    return (
        f"maxconn {settings.dyno_requests_max} check inter 1h fastinter {check_ms}ms"
        f" downinter {check_ms}ms rise 1 fall 1 observe layer4 error-limit 1 on-error mark-down"
    )


def _frontend(settings: Settings, paths: Mapping[str, Path]) -> str:
    """Host to app to slot; what the dyno is told; the router line.

    Each rule costs every request: what only a refused one needs is in the backend `nowhere`.
    """
    lines = ["", "frontend web"]
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
        *_edge(settings),
        *_held(settings),
        *sticky.RECOGNISED,
        *_limited(settings, paths),
        *_forwarded(settings),
        *_answered(paths),
        *sticky.TOLD,
        "  use_backend %[var(txn.route),field(1,|)] if { var(txn.route) -m sub |serve| }",
        "  default_backend nowhere",
    ]
    return "\n".join(lines) + "\n"


def _guarded(settings: Settings) -> list[str]:
    """No address may take all connections; proxies that are trusted speak for many."""
    trusted = " ".join(settings.trusted)
    return [
        *([f"  acl proxy src {trusted}"] if trusted else []),
        "  stick-table type ipv6 size 100k expire 10s store conn_cur",
        f"  tcp-request connection track-sc0 src{' unless proxy' if trusted else ''}",
        "  tcp-request connection reject if"
        f" {{ sc0_conn_cur gt {2 * settings.client_connections_max} }}",
        *(tls.KNOWN if settings.web_tls else ()),
    ]


def _known(paths: Mapping[str, Path]) -> list[str]:
    """Which request is it, and whose; the fields of its line."""
    return [
        "  http-request set-var(txn.t0) date(0,ms)",
        "  http-request set-var(txn.path) pathq,bytes(0,4096)",
        "  http-request set-var(txn.version) req.ver",
        "  # The request's id: the client's own if it is one that cannot do harm.",
        "  http-request set-var(txn.id) uuid()",
        "  http-request set-var(txn.id) req.fhdr(x-request-id) if"
        " { req.fhdr_cnt(x-request-id) 1 }"
        " { req.fhdr(x-request-id) -m reg ^[A-Za-z0-9._~+/=-]{20,200}$ }",
        "  # Host to app, app to SLOT|MODE|CHANNEL|PAGE|PAGE|DYNO|OPTIONS.",
        "  http-request set-var(txn.host) req.hdr(host),host_only,lower,rtrim(.)",
        f"  http-request set-var(txn.app) var(txn.host),map_str({paths['hosts']})",
        *_wildcards(paths),
        "  http-request set-var(txn.route)"
        f" var(txn.app,{NOBODY}),map_str({paths['apps']},{_UNKNOWN})",
        "  http-request set-var(txn.fwd) src",
        "  http-request set-var-fmt(txn.fwd) '%[req.fhdr(x-forwarded-for)], %[src]'"
        " if { req.fhdr(x-forwarded-for) -m reg ^[0-9A-Fa-f.:,\\ ]{2,200}$ }",
        "  http-request set-var(txn.form) str(html)",
        "  http-request set-var(txn.form) str(json)"
        " if { req.hdr(accept) -m sub -i application/json }"
        " !{ req.hdr(accept) -m sub -i text/html }",
    ]


def _wildcards(paths: Mapping[str, Path]) -> list[str]:
    """A host that nothing names: the longest `*.` and part of it that something does."""
    return [
        "  http-request set-var(txn.app)"
        f""" 'var(txn.host),regsub("^([^.]+[.]){{{level}}}[^.]+",*),map_str({paths["hosts"]})'"""
        " if !{ var(txn.app) -m found }"
        for level in range(WILDCARD_LEVELS)
    ]


def _edge(settings: Settings) -> list[str]:
    """What is answered whatever the app's dynos do: the mode says so from here on."""

    def turn(mode: str) -> str:
        rest = "|".join(f"%[var(txn.route),field({number},|)]" for number in (3, 4, 5))
        return f"  http-request set-var-fmt(txn.route) '-|{mode}|{rest}||'"

    challenge = f"{{ path_beg {CHALLENGES} }} {{ var(txn.route),field(7,|) -m beg acme }}"
    plain = "{ var(txn.route) -m end https } !{ ssl_fc }"
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
    most = settings.client_connections_max
    return [
        f"  http-request return status 503{_page(paths, 'error', 'H22')}"
        f" if {{ sc0_conn_cur gt {most} }}",
        f"  http-request return status 417{_page(paths, 'error', '417')}"
        " if { req.hdr_cnt(expect) gt 0 } !{ req.hdr(expect) -i 100-continue }",
    ]


def _forwarded(settings: Settings) -> list[str]:
    """The headers that tell a dyno of its client."""
    proto, port = "", ""
    if settings.trusted:
        proto = " unless proxy { req.fhdr(x-forwarded-proto) -m reg ^https?$ }"
        port = " unless proxy { req.fhdr(x-forwarded-port) -m reg ^[0-9]{1,5}$ }"
    return [
        "  http-request set-header X-Request-Id %[var(txn.id)]",
        "  http-request set-header X-Forwarded-For %[var(txn.fwd)]",
        f"  http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]{proto}",
        f"  http-request set-header X-Forwarded-Port %[dst_port]{port}",
        "  http-request set-header X-Request-Start %[var(txn.t0)]",
        '  http-request add-header Via "%[var(txn.version)] oriel-router"',
    ]


def _answered(paths: Mapping[str, Path]) -> list[str]:
    """HAProxy's own answers carry x-oriel-own, which an app cannot send."""
    own = "{ var(txn.own) -m found }"
    rule = "http-after-response"
    return [
        f"  http-response del-header {_OWN}",
        f"  http-response return status 502{_page(paths, 'error', 'H25')}"
        f" if {{ res.hdrs,length gt {_HEADERS_BYTES} }}",
        '  http-response add-header Via "1.1 oriel-router"',
        f"  {rule} set-var(txn.own) res.hdr({_OWN})",
        f"  {rule} del-header {_OWN} if {own}",
        f"  {rule} set-header Content-Type application/json if {own}"
        " { var(txn.form) -m str json }",
        # An app's own page may hold what it likes.
        f"  {rule} del-header content-security-policy if {own} {{ var(txn.route),field(4,|),"
        f"length gt 0 }} or {own} {{ var(txn.route),field(5,|),length gt 0 }}",
        f"  {rule} set-status 503 if {{ var(txn.own) -m int 500:599 }}",
        # No dyno is left: how often was it tried, and is there only one that it can have been?
        f"  {rule} set-var-fmt(txn.own) '503:%rc:%[var(txn.route),field(6,|)]'"
        " if { var(txn.own) -m str 503 } !{ srv_name -m found }",
    ]


def _nowhere(settings: Settings, paths: Mapping[str, Path]) -> str:
    """The apps that no dyno serves, what is answered at the edge, and the hosts of no app."""
    lines = ["", "backend nowhere", *_edge_answers(settings, paths)]
    for mode, status, code, page in _REFUSALS:
        lines.append(
            f"  http-request return status {status}{_page(paths, page, code)}"
            f" if {{ var(txn.route) -m sub |{mode}| }}"
        )
    lines += [
        "  http-request set-log-level silent",
        f"  http-request return status 404{_page(paths, 'unknown', '404')}",
    ]
    return "\n".join(lines) + "\n"


def _edge_answers(settings: Settings, paths: Mapping[str, Path]) -> list[str]:
    """Challenges and redirects. 308, unlike 301, makes a client repeat a POST as one."""
    port = settings.web_tls[0].port if settings.web_tls else 443
    place = "" if port == 443 else f":{port}"
    location = f"hdr Location 'https://%[var(txn.host)]{place}%[pathq]'"
    answer = f"var(txn.challenge),map_str({paths['challenges']})"
    challenge = "if { var(txn.route) -m sub |acme| }"
    edge = "if { var(txn.route) -m sub |https| }"
    return [
        f"  http-request set-var-fmt(txn.challenge) '%[var(txn.host)]%[path]' {challenge}",
        "  http-request return status 200 content-type text/plain"
        f' lf-string "%[{answer}]" {challenge} {{ {answer} -m found }}',
        "  http-request return status 404 content-type text/plain"
        f' string "No such challenge." {challenge}',
        f"  http-request return status 301 {location} {edge} {{ method GET HEAD }}",
        f"  http-request return status 308 {location} {edge}",
    ]
