"""Owns the sum of what went wrong with an app: its H, R and L codes over a time, from its log.

Must not know segments; logplex searches. Bounded: of each kind the newest lines count.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from oriel import faults
from oriel.control import access, logs, when
from oriel.control.world import World
from oriel.lexicon import Actor
from oriel.logplex.client import Query

LINES_MAX = 200_000
"""Of each kind; what is older is not counted, and the answer says so."""
SINCE_DEFAULT = "24h"
DYNOS_MAX = 20

_ROUTER = re.compile(
    r'(?:sock=\w+ )?at=\w+ code=(H\d\d) desc="([^"]*)".*? path="([^"]*)" .*? dyno=([\w.-]*) ',
)
_PLATFORM = re.compile(r"Error ([RL]\d\d)(?: \(([^)]*)\)|:)")
_NAMELESS = {"L12": "Local buffer overflow"}
"""Codes whose lines give no name, as Heroku's do not."""


@dataclass(slots=True)
class Trouble:
    """One code: how often, when first and last, by which dynos, and one path of the router's."""

    code: str
    description: str
    count: int = 0
    first: str = ""
    last: str = ""
    dynos: Counter[str] = field(default_factory=Counter)
    path: str = ""


@dataclass(frozen=True, slots=True)
class Sum:
    """All codes of an app since a moment, the most frequent first."""

    app: str
    since: str
    troubles: tuple[Trouble, ...]
    whole: bool
    """False: there were more lines than are counted, and the oldest are left out."""


async def errors(world: World, actor: Actor, app: str, since: str = "") -> Sum:
    """The codes of an app's log since then: a time, an age, or a release."""
    found = await access.app_of(world, actor, app)
    text, now = since or SINCE_DEFAULT, world.clock.wall()
    begun = await world.db.read(lambda conn: when.begin_of(conn, found, text, now))
    since_us = max(0, logs.microseconds(begun))
    troubles: dict[str, Trouble] = {}
    whole = True
    for needle, ps in ((" code=H", ("router",)), ("Error ", ())):
        query = Query(
            lines=LINES_MAX,
            sources=("heroku",),
            ps=ps,
            format="json",
            since_us=since_us,
            grep=needle,
        )
        number = 0
        async for batch in world.logplex.read(found.channel, query):
            number += batch.lines
            add(troubles, _lines(batch.text))
        whole = whole and number < LINES_MAX
    ranked = sorted(troubles.values(), key=lambda each: (-each.count, each.code))
    return Sum(found.name, begun.isoformat(), tuple(ranked), whole)


def add(troubles: dict[str, Trouble], lines: Iterable[dict[str, Any]]) -> None:
    """Count what lines say, oldest first, into `troubles`. A line without a code is none."""
    for line in lines:
        said = _said(str(line["ps"]), str(line["text"]))
        if said is None:
            continue
        code, description, dyno, path = said
        each = troubles.setdefault(code, Trouble(code, description))
        each.count += 1
        each.first = each.first or str(line["time"])
        each.last = str(line["time"])
        each.path = path or each.path
        if dyno and (dyno in each.dynos or len(each.dynos) < DYNOS_MAX):
            each.dynos[dyno] += 1


def _said(ps: str, text: str) -> tuple[str, str, str, str] | None:
    if ps == "router":
        match = _ROUTER.match(text)
        return (match[1], match[2], match[4], match[3]) if match else None
    match = _PLATFORM.match(text)
    if not match:
        return None
    return (
        match[1],
        match[2] or _NAMELESS.get(match[1], ""),
        "" if match[1].startswith("L") else ps,
        "",
    )


def _lines(text: bytes) -> Iterator[dict[str, Any]]:
    for row in text.splitlines():
        line = json.loads(row)
        if not isinstance(line, dict):
            raise faults.Broken("Logplex gave a line that is none.")
        yield line
