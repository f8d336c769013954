"""Owns reading the end of what a dyno said, for a card: a few lines, within a moment.

Must not know segments or sessions. That logplex is away is no failure of what is asked.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from oriel import faults
from oriel.control.world import World
from oriel.logplex.client import Query

READ_TIMEOUT_S = 3.0

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the log."""

    time: str
    """As the log has it, with microseconds."""
    source: str
    ps: str
    text: str
    instance: str = ""


async def last(
    world: World,
    channel: str,
    ps: str,
    lines: int,
    *,
    sources: tuple[str, ...] = (),
    since: datetime | None = None,
    until: datetime | None = None,
) -> tuple[Line, ...] | None:
    """The last lines of a dyno; None when the log cannot be read now."""
    query = Query(
        lines=lines,
        sources=sources,
        ps=(ps,),
        format="json",
        since_us=_us(since) if since else 0,
        until_us=_us(until) if until else None,
    )
    found: list[Line] = []
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            async for batch in world.logplex.read(channel, query):
                found += map(_line, batch.text.splitlines())
    except (faults.Fault, TimeoutError):
        return None
    # `web.1` is a filter for a dyno's name, but names with more behind it pass too.
    return tuple(line for line in found if line.ps == ps)[-lines:] if lines else ()


def _line(text: bytes) -> Line:
    value = json.loads(text)
    return Line(
        time=str(value.get("time", "")),
        source=str(value.get("source", "")),
        ps=str(value.get("ps", "")),
        text=str(value.get("text", "")),
        instance=str(value.get("instance", "")),
    )


def _us(moment: datetime) -> int:
    return max(0, (moment - _EPOCH) // timedelta(microseconds=1))
