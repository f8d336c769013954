"""Owns the router as control uses it: the newest table wins, and HAProxy follows it.

Must not know what HAProxy's answers look like. It remembers no route: each round begins with what
HAProxy shows, so that a kill of either side at any moment is set right by the next round.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from oriel.clock import Clock
from oriel.faults import Unavailable
from oriel.router import changes
from oriel.router.changes import Plan
from oriel.router.haproxy import HAProxy, unprivileged_user
from oriel.router.places import Places
from oriel.router.render import render
from oriel.router.seen import Activity, Process
from oriel.router.settings import Settings
from oriel.router.slots import server_options
from oriel.router.table import Listen, RouteTable
from oriel.router.talk import Away

_APPLY_WAIT_S = 3.0
"""A reload on a busy machine takes a second, and what was asked for meanwhile comes after it."""
_TICK_S = 0.5
_AUDIT_S = 60.0
_RELOAD_GAP_S = 2.0
_RELOAD_WAIT_S = 5.0
_RELOAD_RETRY_S = 10.0
_RELOAD_RETRY_MAX_S = 600.0
_POLL_S = 0.03
_DRAIN_POLL_S = 0.02
_DRAIN_POLL_MAX_S = 0.25
_DRAIN_AWAY_S = 1.0
_ROUNDS_MAX = 4
_BACKOFF_MAX_S = 30.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Status:
    """How the router is, for `oriel doctor` and for an administrator."""

    pid: int | None
    """None: HAProxy is away; the newest routes wait in its files."""
    refused: str
    """Why the last configuration was not taken; empty when it was."""
    reloads: int
    slots: int
    apps: int


class Router:
    """Brings HAProxy to the newest route table, and keeps it there."""

    def __init__(
        self,
        *,
        directory: Path,
        runtime_socket: Path,
        master_socket: Path,
        web: Listen | tuple[Listen, ...],
        log_port: int,
        clock: Clock,
        web_tls: Listen | None = None,
        user: str | None = None,
        **changes: Any,
    ) -> None:
        """Touches nothing yet; `user` is whom HAProxy becomes, by default what the system has.

        `changes` are those to the other `Settings`.
        """
        self._settings = Settings(
            directory=directory,
            runtime_socket=runtime_socket,
            web=(web,) if isinstance(web, Listen) else web,
            log_port=log_port,
            web_tls=(web_tls,) if web_tls else (),
            user=user or unprivileged_user(),
            **changes,
        )
        self._options = server_options(self._settings)
        self._layout = ""
        self._clock = clock
        self._haproxy = HAProxy(
            directory=directory,
            runtime_socket=runtime_socket,
            master_socket=master_socket,
            clock=clock,
        )
        self._newest = RouteTable()
        self._asked = 0
        self._done = 0
        self._wake = asyncio.Event()
        self._round_over = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._process: Process | None = None
        self._places = Places(0, {})
        self._refused = ""
        self._refused_config = ""
        self._reloads = 0
        self._reload_failures = 0
        self._reload_next_s = 0.0
        self._audit_next_s = 0.0

    async def start(self, table: RouteTable) -> None:
        """Write what HAProxy starts from, bring a running one to `table`, and keep watching.

        Raises Unavailable when HAProxy is not installed, or refuses the very first configuration.
        """
        self._newest = table
        key = await asyncio.to_thread(self._haproxy.key)
        self._settings = replace(self._settings, onward_key=key)
        if not await self._haproxy.can_hold():
            self._settings = replace(self._settings, boot_hold_s=0)
        self._settings = replace(self._settings, rolling=await self._haproxy.can_roll())
        empty = replace(table, apps=(), certificates=())
        self._layout = render(empty, Places(0, {}), self._settings).stamp.layout
        await self._round()
        if not self._haproxy.has_config():
            raise Unavailable(
                f"HAProxy refuses the router's configuration: {self._refused}",
                hint="oriel doctor",
            )
        self._task = asyncio.create_task(self._keep_up(), name="router")

    async def apply(self, table: RouteTable) -> None:
        """Make `table` the newest. Returns when HAProxy has it, or after three seconds at most.

        Calls that come while a round runs are merged: only the newest table is carried out.
        """
        self._newest = table
        self._asked += 1
        mine = self._asked
        self._wake.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_APPLY_WAIT_S), self._round_over:
                await self._round_over.wait_for(lambda: self._done >= mine)

    @property
    def can_wake(self) -> bool:
        """Whether a request of an idle app waits and wakes it; else none may go idle."""
        return bool(self._settings.boot_hold_s and self._settings.waker)

    async def activity(self, app_ids: Iterable[str]) -> dict[str, Activity]:
        """When dynos of these apps were last sent something; of those that it is known of.

        None of them while HAProxy is away.
        """
        slots = {each: self._places.by_app.get(each) for each in app_ids}
        placed = {app_id: slot for app_id, slot in slots.items() if slot is not None}
        try:
            found = await self._haproxy.activity(placed.values())
        except Away:
            return {}
        return {app_id: found[slot] for app_id, slot in placed.items() if slot in found}

    async def drained(self, app_id: str, server: str) -> None:
        """Wait until no request of the app is under way at the server of this label any more."""
        pause_s, away_s = _DRAIN_POLL_S, 0.0
        while (slot := self._places.by_app.get(app_id)) is not None:
            try:
                if not await self._haproxy.in_use(slot, server):
                    return
                away_s = 0.0
            except Away:
                # Its master is away for a moment whenever it reloads.
                if away_s > _DRAIN_AWAY_S:
                    return
                away_s += pause_s
            await self._clock.sleep(pause_s)
            pause_s = min(_DRAIN_POLL_MAX_S, pause_s * 1.5)

    async def close(self) -> None:
        """Stop watching; HAProxy goes on with the routes that it has."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def status(self) -> Status:
        """How it is just now."""
        return Status(
            pid=self._process.pid if self._process else None,
            refused=self._refused,
            reloads=self._reloads,
            slots=self._places.slots,
            apps=len(self._newest.apps),
        )

    async def _keep_up(self) -> None:
        """Rounds, one after another, for as long as the router lives."""
        failures = 0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
                    await self._wake.wait()
            self._wake.clear()
            asked = self._asked
            try:
                if asked > self._done or await self._changed():
                    await self._round()
                failures = 0
            except Exception as error:
                # Whatever it is (a full disk, say), routes must go on following.
                failures += 1
                _log.warning("router: %s: %s", type(error).__name__, error)
                await self._clock.sleep(min(_BACKOFF_MAX_S, 0.1 * 2 ** min(failures, 10)))
                continue
            async with self._round_over:
                self._done = max(self._done, asked)
                self._round_over.notify_all()

    async def _changed(self) -> bool:
        """Is it time for a round although nobody asked?"""
        try:
            process = await self._haproxy.process()
        except Away:
            self._process = None
            return False
        now = self._clock.monotonic_s()
        waiting = self._reload_next_s and now >= self._reload_next_s
        return process != self._process or now >= self._audit_next_s or bool(waiting)

    async def _round(self) -> None:
        """From what HAProxy shows to the newest table."""
        table = self._newest
        self._audit_next_s = self._clock.monotonic_s() + _AUDIT_S
        try:
            plan = await self._tell(table)
        except Away:
            self._process = None
            await self._write(table, self._places_on_disk(table))
            return
        if plan.reload:
            await self._reload(plan)
        else:
            if self._clock.monotonic_s() >= self._reload_next_s:
                self._reload_next_s = 0.0
            await self._write(table, plan.places)
            await self._haproxy.tell(plan.chores)

    async def _tell(self, table: RouteTable) -> Plan:
        """Runtime commands until HAProxy shows the table, as far as it has slots for it."""
        objection = ""
        for _ in range(_ROUNDS_MAX):
            seen = await self._haproxy.see()
            self._process = seen.process
            plan = changes.plan(table, seen, self._layout, self._settings.directory, self._options)
            self._places = plan.places
            if not plan.commands:
                return plan
            objection = await self._haproxy.tell(plan.commands)
        _log.warning("router: HAProxy does not follow: %s", objection)
        return Plan((), (), plan.places, reload=True)

    def _places_on_disk(self, table: RouteTable) -> Places:
        """Slots while HAProxy is away: as in the files that it would start from."""
        found = self._haproxy.on_disk()
        holders, slots = (changes.held(found[1]), found[0].slots) if found else ({}, 0)
        self._places = changes.place_all(table, holders, slots, self._settings.spares)
        return self._places

    async def _write(self, table: RouteTable, places: Places) -> bool:
        """Refresh the files; a refused configuration leaves the last good one in place."""
        rendered = render(table, places, self._settings)
        if self._refused and rendered.config == self._refused_config:
            return False
        reason = await self._haproxy.write(rendered)
        if reason and not self._refused:
            _log.error("router: configuration refused, the last good one stays: %s", reason)
        self._refused = reason
        self._refused_config = rendered.config if reason else ""
        await self._haproxy.note_refused(reason)
        return not reason

    async def _reload(self, plan: Plan) -> None:
        """New slots or a new layout: one reload for all that has gathered meanwhile."""
        slots = max(plan.places.slots, self._process_slots())
        table = self._newest
        places = changes.place_all(table, plan.places.by_app, slots, self._settings.spares)
        now = self._clock.monotonic_s()
        due = now >= self._reload_next_s
        # The apps that have a place are served already; the others come with the next reload.
        if not due and self._reload_failures:
            return
        if not await self._write(table, places) or not due:
            return
        try:
            # A worker outlives so many reloads: where many are left, they come more seldom.
            self._reload_next_s = now + _RELOAD_GAP_S * (1 + await self._left())
            await self._haproxy.reload()
            await self._reloaded(self._process)
        except Away as error:
            self._refused = f"HAProxy did not take over its new configuration: {error}"
            _log.error("router: %s", self._refused)
            await self._haproxy.note_refused(self._refused)
            await self._haproxy.restore()
            # HAProxy 2.6 pauses the running worker's port for 2 s when a new one cannot bind.
            self._reload_failures += 1
            wait_s = _RELOAD_RETRY_S * 2 ** min(self._reload_failures - 1, 10)
            self._reload_next_s = self._clock.monotonic_s() + min(_RELOAD_RETRY_MAX_S, wait_s)
            return
        self._reloads += 1
        self._reload_failures = 0
        # What was asked for while it reloaded.
        await self._tell(self._newest)

    async def _left(self) -> int:
        """How many workers still finish what they have."""
        with contextlib.suppress(Away):
            return len(await self._haproxy.old_workers())
        return 0

    def _process_slots(self) -> int:
        """How many slots the running HAProxy has."""
        stamp = self._process.stamp if self._process else None
        return stamp.slots if stamp else 0

    async def _reloaded(self, before: Process | None) -> None:
        """Wait for a worker that has the new configuration; raises Away when none comes."""
        deadline_s = self._clock.monotonic_s() + _RELOAD_WAIT_S
        while self._clock.monotonic_s() < deadline_s:
            with contextlib.suppress(Away):
                process = await self._haproxy.process()
                if before is None or process.pid != before.pid:
                    self._process = process
                    return
            await self._clock.sleep(_POLL_S)
        raise Away("no new worker came up")
