"""Owns the slots, each a backend of one app's dynos, and how a dyno is watched.

Lines of haproxy.cfg, for `render`, and what `changes` needs to add one while HAProxy runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from oriel.router import answers, sticky
from oriel.router.frontend import forwarded
from oriel.router.places import Places, slot_name
from oriel.router.settings import Settings
from oriel.router.table import AppRoute, RouteTable, Server

_SLOT = """\

backend {name} from dynos
  balance leastconn
  http-request return status 503{refusal} if {{ avg_queue ge {backlog} }}
"""


def defaults(settings: Settings, paths: Mapping[str, Path]) -> str:
    """What holds for every slot: what a dyno is told, and what it may answer."""
    lines = [
        "",
        "defaults dynos from all",
        *forwarded(settings),
        *sticky.secured(settings),
        *answers.checked(paths),
    ]
    return "\n".join(lines) + "\n"


def backends(
    table: RouteTable, places: Places, settings: Settings, paths: Mapping[str, Path]
) -> str:
    """Every slot, with the servers of the app that has it."""
    holders: dict[int, AppRoute] = {places.by_app[app.app_id]: app for app in table.apps}
    refusal, backlog = answers.page(paths, "error", "H11"), settings.dyno_backlog_max
    parts: list[str] = []
    for slot in range(places.slots):
        parts.append(_SLOT.format(name=slot_name(slot), refusal=refusal, backlog=backlog))
        parts.append(sticky.SERVED)
        if app := holders.get(slot):
            parts += [f"  server {each.label} {address(each)}\n" for each in app.servers]
    return "".join(parts)


def address(server: Server) -> str:
    """A server's address as HAProxy reads it."""
    return (
        f"[{server.host}]:{server.port}" if ":" in server.host else f"{server.host}:{server.port}"
    )


def server_options(settings: Settings) -> str:
    """How each dyno is watched: by its requests, and by connecting only while it is quarantined."""
    check_ms = round(settings.quarantine_s * 1000)
    return (
        f"maxconn {settings.dyno_requests_max} check inter 1h fastinter {check_ms}ms"
        f" downinter {check_ms}ms rise 1 fall 1 observe layer4 error-limit 1 on-error mark-down"
    )
