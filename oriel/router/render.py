"""Owns the text of haproxy.cfg and its maps: a pure rendering of routes in their places.

Must not know files, sockets or what HAProxy runs just now. The configuration is one commit point:
it names its maps by a digest of their content, so that a kill between two writes leaves the old
set or the new one, never a mixture.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as files_of
from pathlib import Path

from oriel.router import tls
from oriel.router.pages import halves
from oriel.router.table import AppRoute, Listen, RouteTable, Server

NOBODY = "-"
"""An app id that no app has."""

CHALLENGES = "/.well-known/acme-challenge/"

WILDCARD_LEVELS = 4
"""How many labels a wildcard may stand for."""

LAYOUT_VERSION = 1
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
    spares: int = 32
    """Empty slots rendered ahead, so that an app's coming needs no reload."""
    connect_timeout_s: float = 5
    first_byte_timeout_s: float = 30
    idle_timeout_s: float = 55
    boot_hold_s: float = 75
    """How long a request waits for a booting app; 0: it is refused at once (no Lua there)."""

    def __post_init__(self) -> None:
        """No path or name that would need quoting enters a configuration."""
        for path in (self.directory, self.runtime_socket):
            if not path.is_absolute() or not _QUOTABLE.fullmatch(str(path)):
                raise ValueError(f"{str(path)!r} must be absolute, without spaces or quotes.")
        if self.user is not None and not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", self.user):
            raise ValueError(f"{self.user!r} is not a user's name.")


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
    """The map from app id to `SLOT|MODE|CHANNEL`: one entry, so that it changes at once."""
    return {
        app.app_id: f"{slot_name(places.by_app[app.app_id])}|{app.mode}|{app.channel}"
        for app in table.apps
    }


def option_entries(table: RouteTable) -> dict[str, str]:
    """The map from app id to what else is to be done with its requests: `https`, `acme`."""
    words = {
        app.app_id: (["https"] if app.https else [])
        + (["acme"] if app.challenges is not None else [])
        for app in table.apps
    }
    return {app_id: "+".join(each) for app_id, each in words.items() if each}


def challenge_entries(table: RouteTable) -> dict[str, str]:
    """The map from host and path to what a certificate authority is to be answered."""
    return {
        f"{host}{CHALLENGES}{token}": answer
        for app in table.apps
        for (host, token), answer in (app.challenges or {}).items()
    }


MAPS: Mapping[str, Callable[[RouteTable, Places], dict[str, str]]] = {
    "hosts": lambda table, places: host_entries(table),
    "apps": lambda table, places: app_entries(table, places),
    "options": lambda table, places: option_entries(table),
    "challenges": lambda table, places: challenge_entries(table),
}
"""The maps that change while HAProxy runs."""


def address(server: Server) -> str:
    """A server's address as HAProxy reads it."""
    return (
        f"[{server.host}]:{server.port}" if ":" in server.host else f"{server.host}:{server.port}"
    )


def render(table: RouteTable, places: Places, settings: Settings) -> Rendered:
    """The configuration that serves `table` from the moment HAProxy reads it."""
    pages = halves()
    contents = {
        **{kind: _map_text(entries(table, places)) for kind, entries in MAPS.items()},
        "before": _map_text({key: page.before for key, page in pages.items()}),
        "after": _map_text({key: page.after for key, page in pages.items()}),
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
    # The layout is what only a reload can change; hosts and apps change through the socket.
    changing = (*MAPS, "hold", "certs", "fallback")
    loose = {**paths, **{each: Path(each) for each in changing}}
    stamp = Stamp(
        _digest(_fixed(settings, loose) + _hold_text(settings, loose["apps"]) + _SLOT), places.slots
    )
    config = fixed.replace(_STAMP, str(stamp)) + _backends(table, places)
    return Rendered(config, files, stamp)


_STAMP = "@STAMP@"
_SLOT = """\

backend {name}
  balance leastconn
"""


def _backends(table: RouteTable, places: Places) -> str:
    """Every slot, with the servers of the app that has it."""
    holders: dict[int, AppRoute] = {places.by_app[app.app_id]: app for app in table.apps}
    parts: list[str] = []
    for slot in range(places.slots):
        parts.append(_SLOT.format(name=slot_name(slot)))
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


# The router line. `service` is counted when the line is written; t0 of a request that reached no
# dyno lies in the far future, which leaves `service=` empty as Heroku does.
_LINE = (
    '%[var(txn.at)] method=%[var(txn.method)] path="%[var(txn.path)]" host=%[var(txn.host)]'
    ' request_id=%[var(txn.id)] fwd="%[var(txn.fwd)]" %[var(txn.dyno)] %[var(txn.connect)]'
    " %[date(0,ms),sub(txn.t0),regsub(^,service=),regsub($,ms),regsub(-.*,)]"
    " status=%[var(txn.status)] bytes=%B %[var(txn.protocol)]"
)
_DATA = '[oriel channel="%[var(txn.channel)]" server="%s" ts="%ts"]'
_RETRIES = 3
_NEVER = 9_000_000_000_000

_REFUSALS: tuple[tuple[str, int, str, str, str], ...] = (
    # mode, status, at= and code, description, page
    ("maintenance", 503, "at=info code=H80", "Maintenance mode", "maintenance"),
    ("blank", 502, "at=info code=H81", "Blank app", "blank"),
    ("crashed", 503, "at=error code=H10", "App crashed", "error"),
    ("none", 503, "at=error code=H14", "No web processes running", "error"),
    ("booting", 503, "at=error code=H20", "App boot timeout", "booting"),
)

_OWN_STATUSES = (400, 401, 403, 404, 405, 407, 408, 410, 413, 421, 422, 425, 429)
_OWN_FAILURES = (500, 501, 502, 503, 504)


def _body(paths: Mapping[str, Path]) -> str:
    """A page around the request's id."""
    return (
        f'lf-string "%[var(txn.page),map_str({paths["before"]})]%[var(txn.id)]'
        f'%[var(txn.page),map_str({paths["after"]})]"'
    )


def _fixed(settings: Settings, paths: Mapping[str, Path]) -> str:
    """All but the slots."""
    return "".join(
        [_global(settings, paths), _defaults(settings, paths), _frontend(settings, paths), _NOWHERE]
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
        "  timeout http-request 30s",
        f"  timeout http-keep-alive {idle}",
        f"  timeout client {idle}",
        f"  timeout tunnel {idle}",
        "  timeout client-fin 10s",
        f"  retries {_RETRIES}",
        "  retry-on conn-failure",
        "  option redispatch 1",
        # No idle connection to a dyno: none is there to be cut when the dyno goes.
        "  option http-server-close",
        "  option abortonclose",
        "  option dontlognull",
        "  option http-ignore-probes",
    ]
    for status in _OWN_FAILURES + _OWN_STATUSES:
        lines.append(
            f"  http-error status {status} content-type text/html {_body(paths)}"
            f" hdr x-oriel-own {status}"
        )
    return "\n".join(lines) + "\n"


def _frontend(settings: Settings, paths: Mapping[str, Path]) -> str:
    """Host to app to slot; what the dyno is told; the router line."""
    lines = ["", "frontend web"]
    for listen in settings.web:
        lines += [f"  bind {each}" for each in bind_addresses(listen)]
    for listen in settings.web_tls:
        places = bind_addresses(listen)
        lines += [tls.bind(each, paths["fallback"], paths["certs"]) for each in places]
    lines += [
        f"  log 127.0.0.1:{settings.log_port} len 16384 format rfc5424 local3 info",
        "  log-tag router",
        "  unique-id-format %[uuid()]",
        f"  log-format-sd '{_DATA}'",
        f"  log-format '{_LINE}'",
        *_known(paths),
        *_edge(paths),
        *_held(settings),
        *_line_begun(),
        *_edge_answers(settings, paths),
        *_refused(paths),
        *_forwarded(),
        *_line_ended(settings),
        "  use_backend %[var(txn.route),field(1,|)]",
        "  default_backend nowhere",
    ]
    return "\n".join(lines) + "\n"


def _known(paths: Mapping[str, Path]) -> list[str]:
    """Which request is it, and whose."""
    return [
        "  # The request's id: the client's own if it is one that cannot do harm.",
        "  http-request set-var(txn.id) unique-id",
        "  http-request set-var(txn.id) req.fhdr(x-request-id) if"
        " { req.fhdr_cnt(x-request-id) 1 }"
        " { req.fhdr(x-request-id) -m reg ^[A-Za-z0-9._~+/=-]{20,200}$ }",
        "  # Host to app, app to SLOT|MODE|CHANNEL.",
        "  http-request set-var(txn.host) req.hdr(host),host_only,lower,rtrim(.)",
        f"  http-request set-var(txn.app) var(txn.host),map_str({paths['hosts']})",
        *_wildcards(paths),
        f"  http-request set-var(txn.route) var(txn.app),map_str({paths['apps']})",
        "  http-request set-var(txn.mode) str(unknown)",
        "  http-request set-var(txn.mode) var(txn.route),field(2,|)",
        "  http-request set-var(txn.channel) var(txn.route),field(3,|)",
        "  http-request set-var(txn.form) str(html)",
        "  http-request set-var(txn.form) str(json)"
        " if { req.hdr(accept) -m sub -i application/json }"
        " !{ req.hdr(accept) -m sub -i text/html }",
        '  http-request set-var-fmt(txn.page) "%[var(txn.form)]:error"',
    ]


def _wildcards(paths: Mapping[str, Path]) -> list[str]:
    """A host that nothing names: the longest `*.` and part of it that something does."""
    unknown = "if !{ var(txn.app) -m found }"
    lines = [f"  http-request set-var(txn.below) var(txn.host),regsub(^[^.]+,*) {unknown}"]
    for level in range(WILDCARD_LEVELS):
        if level:
            step = r"var(txn.below),regsub(^\*\.[^.]+,*)"
            lines.append(f"  http-request set-var(txn.below) {step} {unknown}")
        look = f"var(txn.below),map_str({paths['hosts']})"
        lines.append(f"  http-request set-var(txn.app) {look} {unknown}")
    return lines


def _edge(paths: Mapping[str, Path]) -> list[str]:
    """What is answered whatever the app's dynos do: the mode says so from here on."""
    return [
        "  # A certificate authority asks whether the host is ours; http is sent to https.",
        f"  http-request set-var(txn.options) var(txn.app),map_str({paths['options']})",
        "  http-request set-var(txn.mode) str(https)"
        " if { var(txn.options) -m sub https } !{ ssl_fc }",
        "  http-request set-var-fmt(txn.challenge) '%[var(txn.host)]%[path]'"
        f" if {{ path_beg {CHALLENGES} }} {{ var(txn.options) -m sub acme }}",
        "  http-request set-var(txn.mode) str(challenge) if { var(txn.challenge) -m found }",
    ]


def _edge_answers(settings: Settings, paths: Mapping[str, Path]) -> list[str]:
    """Challenges and redirects. 308, unlike 301, makes a client repeat a POST as one."""
    port = settings.web_tls[0].port if settings.web_tls else 443
    place = "" if port == 443 else f":{port}"
    location = f"hdr Location 'https://%[var(txn.host)]{place}%[pathq]'"
    answer = f"var(txn.challenge),map_str({paths['challenges']})"
    edge = "if { var(txn.mode) -m str https }"
    challenge = "if { var(txn.mode) -m str challenge }"
    lines = [f"  http-request set-var(txn.t0) int({_NEVER}) {when}" for when in (edge, challenge)]
    return [
        *lines,
        "  http-request return status 200 content-type text/plain"
        f' lf-string "%[{answer}]" {challenge} {{ {answer} -m found }}',
        "  http-request return status 404 content-type text/plain"
        f' string "No such challenge." {challenge}',
        f"  http-request return status 301 {location} {edge} {{ method GET HEAD }}",
        f"  http-request return status 308 {location} {edge}",
    ]


def _held(settings: Settings) -> list[str]:
    """A request of a booting app waits, and then meets what the app has become."""
    if not settings.boot_hold_s:
        return []
    return [
        "  http-request lua.hold if { var(txn.mode) -m str booting }",
        "  http-request set-var(txn.mode) var(txn.route),field(2,|)"
        " if { var(txn.mode) -m str booting }",
    ]


def _line_begun() -> list[str]:
    """The fields of the router line that the request gives, none of which it can forge.

    Without any answer the line stands as begun: the client went away.
    """
    unsafe = r"[^!#-\[\]-~]"
    return [
        "  http-request set-var(txn.t0) date(0,ms)",
        "  http-request set-var(txn.method) method,bytes(0,32)",
        "  http-request set-var(txn.path) str(*)",
        "  http-request set-var(txn.path) pathq,bytes(0,4096)",
        r"""  http-request set-var(txn.path) 'var(txn.path),regsub(\",%22,g),regsub(\\\\,%5C,g)"""
        rf""",regsub("[^!-~]",%3F,g),bytes(0,6000)' if {{ var(txn.path) -m reg '{unsafe}' }}""",
        "  http-request set-var-fmt(txn.protocol) 'protocol=http%[req.ver] tls=false'",
        "  http-request set-var-fmt(txn.protocol) 'protocol=http%[req.ver] tls=true"
        " tls_version=%[ssl_fc_protocol,regsub(^TLSv,tls)]' if { ssl_fc }",
        "  acl forwarded-before req.fhdr(x-forwarded-for) -m reg ^[0-9A-Fa-f.:,\\ ]{2,200}$",
        "  http-request set-var(txn.fwd) src",
        "  http-request set-var-fmt(txn.fwd) '%[req.fhdr(x-forwarded-for)], %[src]'"
        " if forwarded-before",
        """  http-request set-var(txn.at) 'str("sock=client at=warning code=H27"""
        """ desc=\\"Client Request Interrupted\\"")'""",
        "  http-request set-var(txn.status) int(499)",
        "  http-request set-var(txn.dyno) str(dyno=)",
        "  http-request set-var(txn.connect) str(connect=)",
    ]


def _refused(paths: Mapping[str, Path]) -> list[str]:
    """The apps that no dyno serves, and the hosts of no app."""
    lines = ["  http-request set-log-level silent if { var(txn.mode) -m str unknown }"]
    refusals = (*_REFUSALS, ("unknown", 404, "at=info code=-", "No such app", "unknown"))
    for mode, status, at, description, page in refusals:
        when = f"if {{ var(txn.mode) -m str {mode} }}"
        lines += [
            f"""  http-request set-var(txn.at) 'str("{at} desc=\\"{description}\\"")' {when}""",
            f'  http-request set-var-fmt(txn.page) "%[var(txn.form)]:{page}" {when}',
            f"  http-request set-var(txn.t0) int({_NEVER}) {when}",
            f"  http-request return status {status} content-type text/html {_body(paths)}"
            f" hdr x-oriel-own mode {when}",
        ]
    return lines


def _forwarded() -> list[str]:
    """The headers that tell a dyno of its client."""
    return [
        "  http-request set-header X-Request-Id %[var(txn.id)]",
        "  http-request set-header X-Forwarded-For %[var(txn.fwd)]",
        "  http-request set-header X-Forwarded-Proto http",
        "  http-request set-header X-Forwarded-Proto https if { ssl_fc }",
        "  http-request set-header X-Forwarded-Port %[dst_port]",
        "  http-request set-header X-Request-Start %[date(0,ms)]",
        '  http-request add-header Via "%[req.ver] oriel-router"',
        "  http-response del-header x-oriel-own",
        '  http-response add-header Via "1.1 oriel-router"',
    ]


def _line_ended(settings: Settings) -> list[str]:
    """What became of it: HAProxy's own answers carry x-oriel-own, which an app cannot send."""
    # All attempts timed out, rather than were refused (which waits up to 1 s before each retry).
    connecting_ms = round(settings.connect_timeout_s * (_RETRIES + 0.5) * 1000)

    def code(at: str, description: str, when: str) -> str:
        return f"""  {rule} set-var(txn.at) 'str("{at} desc=\\"{description}\\"")' if {when}"""

    rule = "http-after-response"
    failed = "{ var(txn.own) -m int 500:599 }"
    return [
        f"  {rule} set-var(txn.own) res.hdr(x-oriel-own)",
        f"  {rule} del-header x-oriel-own",
        f"  {rule} set-var-fmt(txn.tc) %Tc",
        f'  {rule} set-var-fmt(txn.dyno) "dyno=%[srv_name,field(1,:)]" if {{ srv_name -m found }}',
        f"  {rule} set-var-fmt(txn.connect) 'connect=%[var(txn.tc)]ms'"
        " if { var(txn.tc) -m reg ^[0-9] }",
        f"  {rule} set-var(txn.at) str(at=info) if !{{ var(txn.own) -m found }}",
        # 503: no connection to any dyno, at once or after the time allowed, or no dyno at all.
        code("at=error code=H99", "Platform error", failed),
        code(
            "at=error code=H21",
            "Backend connection refused",
            "{ var(txn.own) -m str 503 } { srv_name -m found }",
        ),
        code(
            "at=error code=H19",
            "Backend connection timeout",
            "{ var(txn.own) -m str 503 } { srv_name -m found }"
            f" {{ date(0,ms),sub(txn.t0) ge {connecting_ms} }}",
        ),
        code(
            "at=error code=H13", "Connection closed without response", "{ var(txn.own) -m str 502 }"
        ),
        code("at=error code=H12", "Request timeout", "{ var(txn.own) -m str 504 }"),
        code(
            "at=error code=H26",
            "Request Error",
            "{ var(txn.own) -m int 400:499 } !{ srv_name -m found }",
        ),
        f"  {rule} set-var-fmt(txn.connect) 'connect=%[date(0,ms),sub(txn.t0)]ms'"
        " if { var(txn.own) -m str 503 } { srv_name -m found }",
        f"  {rule} set-var(txn.t0) int({_NEVER}) if {{ var(txn.own) -m str 503 }}",
        f"  {rule} set-status 503 if {failed}",
        f"  {rule} set-var(txn.status) status unless"
        " { var(txn.own) -m int 400:499 } { srv_name -m found }",
        f"  {rule} set-header Content-Type 'text/html; charset=utf-8'"
        " if { var(txn.own) -m found } { var(txn.form) -m str html }",
        f"  {rule} set-header Content-Type application/json"
        " if { var(txn.own) -m found } { var(txn.form) -m str json }",
        f"  {rule} set-header Cache-Control no-store if {{ var(txn.own) -m found }}",
        f"  {rule} set-header X-Content-Type-Options nosniff if {{ var(txn.own) -m found }}",
        f"""  {rule} set-header Content-Security-Policy "default-src 'none'; style-src"""
        """ 'unsafe-inline'" if { var(txn.own) -m found }""",
    ]


_NOWHERE = """
backend nowhere
"""
