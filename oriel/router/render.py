"""Owns the text of haproxy.cfg and its maps: a pure rendering of routes in their places.

Must not know files, sockets or what HAProxy runs just now. The configuration is one commit point:
it names its maps by a digest of their content, so that a kill between two writes leaves the old
set or the new one, never a mixture. Its parts are made by `frontend`, `answers`, `slots`, `maps`,
`sticky` and `tls`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as files_of
from pathlib import Path

from oriel.router import answers, maps, onward, slots, tls
from oriel.router.frontend import frontend
from oriel.router.maps import MAPS
from oriel.router.places import Places, Stamp
from oriel.router.settings import Settings, ms
from oriel.router.slots import backends, server_options
from oriel.router.table import RouteTable

_STAMP = "@STAMP@"
_LOOSE = (*MAPS, "hold", "certs", "fallback")
_RETRIES = 3


@dataclass(frozen=True, slots=True)
class Rendered:
    """A whole configuration: its text, the files that it names, and its stamp."""

    config: str
    files: Mapping[str, str]
    stamp: Stamp


def render(table: RouteTable, places: Places, settings: Settings) -> Rendered:
    """The configuration that serves `table` from the moment HAProxy reads it."""
    contents = {
        **{kind: maps.text_of(entries(table, places)) for kind, entries in MAPS.items()},
        "before": maps.text_of(maps.default_pages("before")),
        "after": maps.text_of(maps.default_pages("after")),
    }
    files = {f"{kind}.{maps.digest(text)}.map": text for kind, text in contents.items()}
    paths = {name.split(".")[0]: settings.directory / name for name in files}
    hold = _hold_text(settings, paths["apps"])
    paths["hold"] = settings.directory / f"hold.{maps.digest(hold)}.lua"
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
        maps.digest(
            _fixed(settings, loose)
            + _hold_text(settings, loose["apps"])
            + backends(RouteTable(), Places(1, {}), settings, loose)
        ),
        places.slots,
    )
    config = fixed.replace(_STAMP, str(stamp)) + backends(table, places, settings, paths)
    return Rendered(config, files, stamp)


@cache
def _resource(name: str) -> str:
    """A file of this package."""
    return files_of(__package__).joinpath(name).read_text("utf-8")


def _hold_text(settings: Settings, apps: Path) -> str:
    """The little program that lets a request wait for its app."""
    text = _resource("hold.lua").replace("{{apps}}", str(apps))
    text = text.replace("{{waker}}", settings.waker)
    text = text.replace("{{onward}}", "yes" if onward.target(settings) else "")
    return text.replace("{{hold_ms}}", str(round(settings.boot_hold_s * 1000)))


def _fixed(settings: Settings, paths: Mapping[str, Path]) -> str:
    """All but the slots."""
    return "".join(
        [
            _global(settings, paths),
            _defaults(settings, paths),
            frontend(settings, paths),
            onward.backend(settings),
            answers.nowhere(settings, paths),
            slots.defaults(settings, paths),
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
        f"  mworker-max-reloads {onward.WORKERS_MAX}",
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

    2.6 has one limit for the first byte and for silence afterwards; the first byte's is kept. A
    newer one is told of the other when an answer begins (`answers`).
    """
    idle = ms(settings.idle_timeout_s)
    lines = [
        "",
        "defaults all",
        "  mode http",
        f"  timeout connect {ms(settings.connect_timeout_s)}",
        f"  timeout server {ms(settings.first_byte_timeout_s)}",
        f"  timeout queue {ms(settings.first_byte_timeout_s)}",
        f"  timeout http-request {ms(settings.head_timeout_s)}",
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
        *answers.errors(paths),
    ]
    return "\n".join(lines) + "\n"
