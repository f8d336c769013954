"""Owns the way of one instance's states into the record, whatever the disk says meanwhile.

A try in a long crash loop is only counted there (`loops`), until it turns out to be more than one
more crash. Must not know what becomes of an instance.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from oriel.clock import Clock
from oriel.faults import Fault
from oriel.manifold import events, loops
from oriel.manifold.cause import Cause
from oriel.manifold.events import Notes
from oriel.manifold.launcher import LaunchSpec
from oriel.manifold.machine import Life, Say
from oriel.store.database import Database

RECORD_RETRY_S = 1.0

_log = logging.getLogger("oriel.manifold.recorder")


@dataclass(frozen=True, slots=True)
class Steady:
    """It has been up for a while: nothing changes, but the record is to say so."""


class Recorder:
    """One instance's pen."""

    def __init__(
        self,
        spec: LaunchSpec,
        db: Database,
        clock: Clock,
        notes: Notes,
        *,
        quiet: bool,
        began: tuple[datetime, Cause] | None = None,
    ) -> None:
        """`quiet` one is only counted, if it crashes; `began` says since when, of one that an
        earlier process began.
        """
        self.notes = notes
        self._spec = spec
        self._db = db
        self._clock = clock
        self.is_quiet = quiet
        self._began = began
        self._up_at: datetime | None = None

    async def record(self, before: Life, after: Life, says: Sequence[Say]) -> datetime:
        """Append the change from one to the other and its lines; gives when it was."""
        # Another cause is an entry too: a dyno that is stopping anyway, and now by hand.
        changed = (after.state, after.cause) != (before.state, before.cause)
        now = self._clock.wall()
        tries = 0

        def work(conn: Connection) -> None:
            if not changed:
                events.say(conn, self._spec, says, now)
            elif tries == 0 or not self._has(conn, after, now):
                self._append(conn, after, says, now)

        while changed or says:
            try:
                await self._db.write(work)
                break
            except Fault as fault:
                # A full disk must not lose a state: it is recorded when there is room again.
                _log.warning("the state of %s waits to be recorded: %s", self._spec.name, fault)
                tries += 1
                await self._clock.sleep(RECORD_RETRY_S)
            except Exception:
                # A mistake of our own: the dyno is still looked after, without its record.
                _log.exception("%s of %s cannot be recorded", after.state, self._spec.instance)
                break
        if after.state == "starting" and self._began is None:
            self._began = (now, after.cause)
        if after.state == "up" != before.state:
            self._up_at = now
        self.is_quiet = self.is_quiet and after.state in ("starting", "up", "crashed")
        return now

    async def tell(self, life: Life, since: datetime) -> bool:
        """It has been up for a while: what was only a try is told after all. False: not yet."""
        if not self.is_quiet or life.state != "up" or life.doomed:
            return True
        self._up_at = since
        now = self._clock.wall()

        def work(conn: Connection) -> None:
            self._sum_up(conn, now, is_due=False)
            self._tell_begun(conn, life)
            line = Say("State changed from starting to up")
            events.say(conn, self._spec, (line,), now)

        try:
            await self._db.write(work)
        except Fault as fault:
            _log.warning("that %s is up is told later: %s", self._spec.name, fault)
            return False
        self.is_quiet = False
        return True

    def _has(self, conn: Connection, life: Life, now: datetime) -> bool:
        """Whether that is recorded: a commit may succeed although its answer was lost."""
        if self.is_quiet and life.state in ("starting", "crashed") and not life.doomed:
            running = life.state == "starting"
            if loops.has(conn, self._spec, is_running=running):
                return True
        return events.has(conn, self._spec, life, now)

    def _append(self, conn: Connection, life: Life, says: Sequence[Say], now: datetime) -> None:
        if self.is_quiet and life.state == "starting":
            if not life.doomed:
                detail = events.detail(self._spec, life.cause, self.notes)
                loops.begin(conn, self._spec, detail, now)
            events.say(conn, self._spec, _needed(says), now)
        elif self.is_quiet and life.state == "up":
            if not life.doomed:
                loops.come_up(conn, self._spec, now)
            events.say(conn, self._spec, _needed(says), now)
        elif self.is_quiet and life.state == "crashed" and self._count(conn, life, now):
            events.say(conn, self._spec, _needed(says), now)
            self._sum_up(conn, now, is_due=True)
        else:
            if self.is_quiet or (life.state == "starting" and not self._spec.once):
                self._sum_up(conn, now, is_due=False)
            if self.is_quiet and life.state != "down":
                self._tell_begun(conn, life)
            events.record(conn, self._spec, life, says, now, self.notes)

    def _count(self, conn: Connection, life: Life, now: datetime) -> bool:
        return loops.count(conn, self._spec, life.cause, self.notes.crashes, now)

    def _tell_begun(self, conn: Connection, life: Life) -> None:
        """It is more than one more crash: its beginning becomes an entry."""
        if self._began is None or events.newest(conn, self._spec.instance) is not None:
            return
        at, cause = self._began
        begun = replace(life, state="starting", cause=cause)
        events.record(conn, self._spec, begun, (), at, self.notes)
        if self._up_at:
            up = replace(life, state="up", cause=Cause("ready"))
            events.record(conn, self._spec, up, (), self._up_at, self.notes)

    def _sum_up(self, conn: Connection, now: datetime, *, is_due: bool) -> None:
        summary = loops.sum_up(conn, self._spec, now, is_due=is_due)
        if summary:
            events.say(conn, self._spec, (Say(summary.line),), now)


def _needed(says: Sequence[Say]) -> list[Say]:
    return [each for each in says if not each.routine]
