"""What the platform wrote down, read past it: its events from SQLite, its channels from logplex."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from dataclasses import dataclass

from oriel import faults
from oriel.logplex.client import Logplex, Query
from tests.story.platform import Platform


@dataclass(frozen=True)
class Entry:
    """One entry of the dynos' record."""

    id: int
    app: str
    instance: str
    name: str
    release: int
    state: str
    at: str
    said: str
    """Cause and details, as they lie there."""

    @property
    def status(self) -> int | None:
        """The exit status that it speaks of."""
        found = re.search(r"status\W+(\d+)", self.said)
        return int(found[1]) if found else None


def entries(platform: Platform, app: str = "") -> list[Entry]:
    """The dynos' record, oldest first."""
    with sqlite3.connect(f"file:{platform.data}/oriel.db?mode=ro", uri=True, timeout=30) as conn:
        rows = conn.execute(
            "SELECT e.id, a.name, e.instance, e.name, e.release, e.state, e.at, e.cause, e.detail "
            "FROM dyno_events e JOIN apps a ON a.id = e.app_id ORDER BY e.id"
        ).fetchall()
    conn.close()
    found = [Entry(*row[:7], f"{row[7]} {row[8]}") for row in rows]
    return [each for each in found if app in ("", each.app)]


def channel_of(platform: Platform, app: str) -> str:
    """The id of an app's channel."""
    with sqlite3.connect(f"file:{platform.data}/oriel.db?mode=ro", uri=True, timeout=30) as conn:
        (row,) = conn.execute("SELECT channel FROM apps WHERE name = ?", (app,)).fetchall()
    conn.close()
    return str(row[0])


@dataclass(frozen=True)
class Said:
    """One line of a channel."""

    source: str
    ps: str
    text: str
    instance: str


def lines(platform: Platform, app: str, ps: str = "") -> list[Said]:
    """What an app's channel holds; empty while logplex is away."""

    async def play() -> list[Said]:
        client = Logplex(platform.data / "run" / "logplex.sock")
        query = Query(lines=None, ps=(ps,) if ps else (), format="json")
        parts = [each.text async for each in client.read(channel_of(platform, app), query)]
        rows = map(json.loads, b"".join(parts).splitlines())
        return [
            Said(
                row["source"],
                row["ps"],
                row["text"],
                row.get("instance") or (row.get("data") or {}).get("instance", ""),
            )
            for row in rows
        ]

    try:
        return asyncio.run(play())
    except (faults.Fault, OSError, json.JSONDecodeError):
        return []
