"""Owns what HAProxy shows of itself, read into values. Pure; must not know sockets or wishes.

Whatever a line of its answers may be, reading it raises nothing: what cannot be read is as good
as not there, and is set right by the next change.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from oriel.router.maps import MAPS
from oriel.router.places import Stamp
from oriel.router.tls import SeenTls

_MAP_LINE = re.compile(rf"([0-9]+) \((?:[^()]*/)?({'|'.join(MAPS)})\.[0-9a-f]+\.map\) ", re.ASCII)
_PID = re.compile(r"^Pid: ([0-9]+)\s*$", re.MULTILINE | re.ASCII)
_UPTIME = re.compile(r"^Uptime_sec: ([0-9]{1,12})\s*$", re.MULTILINE | re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,12}", re.ASCII)
_SLOT = re.compile(r"slot-([0-9]{4,6})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Process:
    """Which HAProxy answers, and which layout it has loaded."""

    pid: int
    stamp: Stamp | None


@dataclass(frozen=True, slots=True)
class SeenServer:
    """One server as `show servers state` has it."""

    slot: int
    label: str
    host: str
    port: int
    ready: bool
    """It may get requests; whether it is quarantined just now is HAProxy's own business."""
    quiet: bool
    """In maintenance: it gets no new request."""
    since_s: int


@dataclass(frozen=True, slots=True)
class Seen:
    """All that a change of routes depends on; a map's key that is there twice has None."""

    process: Process
    map_ids: Mapping[str, str]
    maps: Mapping[str, Mapping[str, str | None]]
    """By the names in `map_ids`."""
    servers: tuple[SeenServer, ...]
    tls: SeenTls = SeenTls()


@dataclass(frozen=True, slots=True)
class Activity:
    """What an app's dynos have had to do lately, as far as HAProxy knows."""

    open: int
    """Requests and websockets under way now."""
    quiet_s: float
    """Since the last one was sent; of none, since HAProxy began to count."""


def read_process(text: str) -> Process | None:
    """From `show info`."""
    pid = _PID.search(text)
    return Process(int(pid[1]), Stamp.find(text)) if pid and len(pid[1]) < 12 else None


def read_map_ids(text: str) -> dict[str, str]:
    """From `show map`: `hosts`, `apps` and so on to the `#ID` that commands take."""
    return {match[2]: f"#{match[1]}" for match in map(_MAP_LINE.match, text.splitlines()) if match}


def read_map(text: str) -> dict[str, str | None]:
    """From `show map #ID`: lines of reference, key and value."""
    entries: dict[str, str | None] = {}
    for line in text.splitlines():
        parts = line.split(" ", 2)
        if len(parts) == 3 and parts[0].startswith("0x"):
            entries[parts[1]] = None if parts[1] in entries else parts[2]
    return entries


def read_servers(text: str) -> tuple[SeenServer, ...]:
    """From `show servers state`: columns are found by their names."""
    columns: dict[str, int] = {}
    servers: list[SeenServer] = []
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["#"]:
            columns = {name: place for place, name in enumerate(words[1:])}
        elif columns and len(words) == len(columns):
            server = _server(words, columns)
            if server is not None:
                servers.append(server)
    return tuple(servers)


def read_uptime(text: str) -> float:
    """From `show info`, in seconds; 0 when it does not say."""
    found = _UPTIME.search(text)
    return float(found[1]) if found else 0.0


def read_activity(text: str, uptime_s: float) -> dict[int, Activity]:
    """From any number of `show stat SLOT 2 -1`, one after another, by slot."""
    columns: dict[str, int] = {}
    found: dict[int, Activity] = {}
    for line in text.splitlines():
        words = line.split(",")
        if line.startswith("# "):
            columns = {name: place for place, name in enumerate(line[2:].split(","))}
            continue
        try:
            slot = _SLOT.fullmatch(words[columns["pxname"]])
            last_s = int(words[columns["lastsess"]])
            is_open = int(words[columns["scur"]])
        except (KeyError, ValueError, IndexError):
            continue
        if slot:
            found[int(slot[1])] = Activity(is_open, last_s if last_s >= 0 else uptime_s)
    return found


def read_in_use(text: str, name: str) -> int:
    """From `show servers conn`: connections to the server of that name with a request on them."""
    column = None
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["#"] and "used_cur" in words:
            column = words.index("used_cur") - 1
        elif words[:1] == [name] and column is not None and len(words) > column:
            return int(words[column]) if _NUMBER.fullmatch(words[column]) else 0
    return 0


def read_old_workers(text: str) -> list[int]:
    """From the master's `show proc`: the workers that only finish what they have begun."""
    _, _, old = text.partition("# old workers")
    workers = [line.split() for line in old.partition("# programs")[0].splitlines()]
    return [
        int(each[0]) for each in workers if each[1:2] == ["worker"] and _NUMBER.fullmatch(each[0])
    ]


def _server(words: list[str], columns: Mapping[str, int]) -> SeenServer | None:
    """One line's server, if it is one of a slot."""
    try:
        slot = _SLOT.fullmatch(words[columns["be_name"]])
        admin = int(words[columns["srv_admin_state"]])
        return slot and SeenServer(
            slot=int(slot[1]),
            label=words[columns["srv_name"]],
            host=words[columns["srv_addr"]],
            port=int(words[columns["srv_port"]]),
            ready=admin == 0,
            quiet=bool(admin & _MAINTENANCE),
            since_s=int(words[columns["srv_time_since_last_change"]]),
        )
    except (KeyError, ValueError):
        return None


# Bits of srv_admin_state: forced, inherited, by configuration, by DNS, by host name.
_MAINTENANCE = 0x01 | 0x02 | 0x04 | 0x20 | 0x40
