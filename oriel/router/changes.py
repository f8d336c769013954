"""Owns the way from what HAProxy has to what it should have: runtime commands, or a reload.

Pure. Each command alone leaves HAProxy in a state that serves no app's request by another's
dyno: dynos come before the routes to them, and leave after.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from oriel.router import tls
from oriel.router.maps import MAPS
from oriel.router.places import LAYOUT_VERSION, Places, slot_name
from oriel.router.seen import Seen, SeenServer
from oriel.router.slots import address
from oriel.router.table import RouteTable, Server

RETIRE_S = 600
"""How long a server without a dyno stays before it is deleted.

Streams of HAProxy 2.6.12 may point at a server that shows no connection any more (haproxy issue
2298: it crashes when such a one is deleted). Until then a server costs a few kilobytes.
"""

_ENTRY = re.compile(
    r"=?slot-([0-9]{4,6})\|[a-z]+\|[A-Za-z0-9-]+\|[0-9a-f]*\|[0-9a-f]*\|[a-z0-9_.-]*\|[a-z+]*",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to tell HAProxy, in order."""

    commands: tuple[str, ...]
    chores: tuple[str, ...]
    """May be refused without harm; tried again another time."""
    places: Places
    """Of the apps that have a slot; all of them once `reload` has been done."""
    reload: bool


def held(apps: Mapping[str, str | None]) -> dict[str, int]:
    """Which app has which slot, by the map's entries; of two holders of one slot, neither."""
    found = {
        app_id: int(match[1])
        for app_id, entry in apps.items()
        if entry is not None and (match := _ENTRY.fullmatch(entry))
    }
    holders = Counter(found.values())
    return {app_id: slot for app_id, slot in found.items() if holders[slot] == 1}


def place(
    table: RouteTable, holders: Mapping[str, int], slots: int, taken: Iterable[int] = ()
) -> Places:
    """Apps keep their slots; new ones get empty ones, as far as there are any."""
    ids = [app.app_id for app in table.apps]
    by_app = {each: holders[each] for each in ids if holders.get(each, slots) < slots}
    used = {*by_app.values(), *holders.values(), *taken}
    free = (slot for slot in range(slots) if slot not in used)
    for each in ids:
        if each not in by_app and (slot := next(free, None)) is not None:
            by_app[each] = slot
    return Places(slots, by_app)


def place_all(table: RouteTable, holders: Mapping[str, int], slots: int, spares: int) -> Places:
    """Places after a reload: a slot for every app and enough spare ones. Never fewer slots."""
    ids = {app.app_id for app in table.apps}
    kept = {app_id: slot for app_id, slot in holders.items() if app_id in ids}
    wanted = -(-(len(ids) + spares) // spares) * spares
    return place(table, kept, max(slots, wanted))


def plan(table: RouteTable, seen: Seen, layout: str, directory: Path, options: str = "") -> Plan:
    """The commands that bring HAProxy to `table`, and whether it takes a reload as well.

    `directory` is where its files are; `options` is what follows a new server's address.
    """
    stamp = seen.process.stamp
    if stamp is None or stamp.version != LAYOUT_VERSION or len(seen.map_ids) < len(MAPS):
        return Plan((), (), Places(0, {}), reload=True)
    places = place(
        table, held(seen.maps["apps"]), stamp.slots, (each.slot for each in seen.servers)
    )
    served = replace(table, apps=tuple(app for app in table.apps if app.app_id in places.by_app))
    coming, leaving, chores = _server_commands(served, places, seen.servers, options)
    shown, hidden = tls.commands(table, seen.tls, directory)
    come: list[str] = []
    go: list[str] = []
    for name, entries in MAPS.items():
        wanted = entries(served, places)
        added, removed = _map_commands(seen.map_ids[name], seen.maps[name], wanted)
        come += added
        go = removed + go
    return Plan(
        commands=(*coming, *shown, *come, *go, *hidden, *leaving),
        chores=tuple(chores),
        places=places,
        reload=stamp.layout != layout or len(served.apps) < len(table.apps),
    )


def _map_commands(
    map_id: str, have: Mapping[str, str | None], want: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """What to set or add, and what to remove."""
    come: list[str] = []
    for key, value in want.items():
        if key not in have:
            come.append(f"add map {map_id} {key} {value}")
        elif have[key] is None:
            come += [f"del map {map_id} {key}", f"add map {map_id} {key} {value}"]
        elif have[key] != value:
            come.append(f"set map {map_id} {key} {value}")
    return come, [f"del map {map_id} {key}" for key in have if key not in want]


def _server_commands(
    table: RouteTable, places: Places, have: tuple[SeenServer, ...], options: str
) -> tuple[list[str], list[str], list[str]]:
    """What comes, what leaves, what may be deleted."""
    known = {(each.slot, each.label): each for each in have}
    wanted: set[tuple[int, str]] = set()
    coming: list[str] = []
    for app in table.apps:
        slot = places.by_app[app.app_id]
        for server in app.servers:
            wanted.add((slot, server.label))
            coming += _coming(slot, server, known.get((slot, server.label)), options)
    leaving: list[str] = []
    chores: list[str] = []
    for (slot, label), old in known.items():
        if (slot, label) in wanted:
            continue
        if not old.quiet:
            leaving.append(f"set server {slot_name(slot)}/{label} state maint")
        elif old.since_s >= RETIRE_S:
            chores.append(f"del server {slot_name(slot)}/{label}")
    return coming, leaving, chores


def _coming(slot: int, server: Server, have: SeenServer | None, options: str) -> list[str]:
    """The commands after which `server` gets requests; none when it does."""
    name = f"{slot_name(slot)}/{server.label}"
    ready = f"set server {name} state ready"
    if have is None:
        watched = [f"enable health {name}"] if options else []
        return [f"add server {name} {address(server)} {options}".rstrip(), ready, *watched]
    moved = (have.host, have.port) != (server.host, server.port)
    move = [f"set server {name} addr {server.host} port {server.port}"] if moved else []
    return move if have.ready else [*move, ready]
