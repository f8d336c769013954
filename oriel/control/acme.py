"""Owns the steps that get and keep automatic certificates (ACME, HTTP-01), for all apps.

One certificate for each host, so that one that does not lead here holds up none but itself. Each
step is written down before the next; what a kill leaves is gone on with. What is due is decided by
`oriel.certificates.machine`, how it is asked for by `oriel.certificates.issuer`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from oriel import faults
from oriel.certificates import Issuer, chain, machine
from oriel.certificates.issuer import Challenge, Issued, new_key
from oriel.certificates.machine import Begun, Granted, Order, Refused, Undecided
from oriel.clock import pick_number
from oriel.control import certs, expiry, record
from oriel.control.world import World
from oriel.ledger import App, apps, certificates, orders
from oriel.ledger import domains as ledger_domains
from oriel.ledger.orders import OrderRow
from oriel.lexicon import PLATFORM

PARALLEL = 4
"""Orders that are worked on at once."""

ORDERS_MAX = 250
ORDERS_WITHIN = timedelta(hours=3)
"""Let's Encrypt takes 300 new orders of an account in 3 hours."""

IDLE_S = 3600.0
"""How long nothing is looked at when nothing is due: the own certificate may be, too, and people's
own ones near their end."""

_log = logging.getLogger("oriel.control.acme")


class Certifier:
    """Does what is due, of every app's orders, for as long as it lives."""

    def __init__(self, issuer: Callable[[str, str, str | None], Issuer] = Issuer) -> None:
        """`start` gives it the world."""
        self._make = issuer
        self._issuer: Issuer | None = None
        self._asked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def ask(self) -> None:
        """Something may be due."""
        self._asked.set()

    def start(self, world: World) -> None:
        """Begin: what a kill left is gone on with."""
        self._task = asyncio.create_task(self._serve(world), name="certificates")

    async def close(self) -> None:
        """Stop; what is under way is gone on with at the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _serve(self, world: World) -> None:
        while True:
            self._asked.clear()
            wait_s = 30.0
            try:
                wait_s = await self.turn(world)
                await expiry.tell(world)
            except Exception:
                _log.exception("automatic certificates: trying again")
            if wait_s >= IDLE_S:
                world.reroute()
            await _either(self._asked.wait(), world.clock.sleep(max(0.05, wait_s)))

    async def turn(self, world: World) -> float:
        """Do all that is due, and say in how many seconds something will be again."""
        now = world.clock.wall()
        rows, paused_until = await world.db.read(lambda conn: _waiting(conn, world, now))
        late = [row for row in rows if machine.due(order_of(row), now)]
        if paused_until > now:
            late = [row for row in late if machine.due(order_of(row), now) != "begin"]
        turns = asyncio.Semaphore(PARALLEL)

        async def one(row: OrderRow) -> None:
            async with turns:
                try:
                    await self._one(world, row)
                except Exception as error:
                    _log.exception("the order for a domain of %s", row.app_id)
                    why = Refused(f"an error of the platform's own ({type(error).__name__})")
                    await _settle(world, row, why)

        await asyncio.gather(*[one(row) for row in late[:ORDERS_MAX]])
        after = world.clock.wall()
        rows, paused_until = await world.db.read(lambda conn: _waiting(conn, world, after))
        due_at = [
            max(row.next_at, paused_until) if machine.due(order_of(row), row.next_at) == "begin"
            else row.next_at
            for row in rows
        ]  # fmt: skip
        return max(
            0.0, min([(min(due_at) - after).total_seconds(), IDLE_S] if due_at else [IDLE_S])
        )

    async def _one(self, world: World, row: OrderRow) -> None:
        found = await world.db.read(lambda conn: _about(conn, row))
        if found is None:
            return
        app, host = found
        issuer = await self._account(world)
        deed = machine.due(order_of(row), world.clock.wall())
        if deed == "begin":
            key = new_key()
            begun = await issuer.begin(host, key)
            if isinstance(begun, Refused):
                await _settle(world, row, begun)
                return
            event, challenge = begun
            asked = challenge or Challenge("", "")
            sealed = orders.seal(world.vault, app, row.domain_id, key)
            row = replace(row, token=asked.token, answer=asked.answer, key_sealed=sealed)
            world_row = await _settle(world, row, event)
            if world_row is None:
                return
            row, deed = world_row, "tell"
        if deed == "tell":
            await world.routed()
            await _settle(world, row, await issuer.tell(row.url))
        elif deed == "look":
            key = orders.key(world.vault, app, row)
            seen = await issuer.look(row.url, host, key)
            await (_granted(world, row, seen, key) if isinstance(seen, Issued)
                   else _settle(world, row, seen))  # fmt: skip

    async def _account(self, world: World) -> Issuer:
        """The account at the authority; its key is kept before it is used."""
        if self._issuer is not None:
            return self._issuer
        directory = world.settings.acme_directory

        def work(conn: Connection) -> str:
            known = orders.account(conn, world.vault, directory)
            if known is not None:
                return known.key
            key = new_key()
            orders.add_account(conn, world.vault, directory, key, world.clock.wall())
            return key

        key = await world.db.write(work)
        self._issuer = self._make(directory, key, world.settings.acme_ca)
        return self._issuer


async def _granted(world: World, row: OrderRow, issued: Issued, key: str) -> None:
    """There is a certificate: keep it, in place of the one before, and serve with it."""
    try:
        loaded = chain.read(issued.chain, key, world.clock.wall())
    except faults.Invalid as fault:
        await _settle(world, row, Refused(f"what it sent cannot be used: {fault.message}"))
        return

    def work(conn: Connection) -> None:
        still = orders.get(conn, row.domain_id)
        about = _about(conn, row)
        if still is None or about is None:
            return
        app, host = about
        if still.certificate_id is None:
            made = certs.new(world, app, loaded, automatic=True)
            certificates.add(conn, made)
        else:
            old = certificates.get(conn, app.id, still.certificate_id)
            made = certs.content(world, app, old, loaded)
            certificates.change(conn, made)
        event = Granted(loaded.starts_at, loaded.ends_at)
        done = _stepped(world, still, event)
        orders.put(
            conn,
            replace(done, certificate_id=made.id, token="", answer="", key_sealed=b"", url=""),
        )
        until = f"{loaded.ends_at:%Y-%m-%d}"
        detail = {"hostname": host, "certificate": made.id, "name": made.name, "until": until}
        lines = [f"Certificate for {host} issued until {until}"]
        record.act(conn, world, PLATFORM, app, "certs:auto:issue", detail, lines)

    await world.db.write(work)
    world.reroute()


async def _settle(
    world: World, row: OrderRow, event: Begun | machine.Told | Undecided | Refused
) -> OrderRow | None:
    """Write down what came of a step; None: its domain is gone."""

    def work(conn: Connection) -> OrderRow | None:
        still = orders.get(conn, row.domain_id)
        about = _about(conn, row)
        if still is None or about is None:
            return None
        app, host = about
        after = _stepped(world, row, event)
        after = replace(after, certificate_id=still.certificate_id)
        if after.state == "failed":
            after = replace(after, token="", answer="", key_sealed=b"")
        orders.put(conn, after)
        if isinstance(event, Refused):
            _say_failed(conn, world, app, host, after)
            if event.limited:
                until = world.clock.wall() + min(event.wait or machine.LIMITED, machine.LIMITED * 3)
                orders.pause(conn, world.settings.acme_directory, until)
        return after

    after = await world.db.write(work)
    if isinstance(event, Begun | Refused):
        world.reroute()
    return after


def _say_failed(conn: Connection, world: World, app: App, host: str, row: OrderRow) -> None:
    if row.state != "failed":
        return
    again = f"{row.next_at:%Y-%m-%dT%H:%M}+00:00"
    text = f"No certificate for {host}: {row.reason}. It is tried again at {again}"
    record.say(conn, world, app, "api", text, {"hostname": host})


def _waiting(conn: Connection, world: World, now: datetime) -> tuple[list[OrderRow], datetime]:
    """Every order, and until when no new one is to be begun."""
    known = orders.account(conn, world.vault, world.settings.acme_directory)
    until = (known.paused_until if known else None) or now
    if orders.begun_since(conn, now - ORDERS_WITHIN) >= ORDERS_MAX:
        until = max(until, now + timedelta(minutes=10))
    return orders.all(conn), until


def _about(conn: Connection, row: OrderRow) -> tuple[App, str] | None:
    """The app and host of an order; None when they are gone."""
    try:
        app = apps.by_name_or_id(conn, row.app_id)
        return app, ledger_domains.get(conn, app.id, row.domain_id).hostname
    except faults.NotFound:
        return None


def order_of(row: OrderRow) -> Order:
    """The machine's part of a row."""
    return Order(
        state=row.state,  # type: ignore[arg-type]
        next_at=row.next_at,
        failures=row.failures,
        reason=row.reason,
        began_at=row.began_at,
        url=row.url,
    )


def _stepped(
    world: World, row: OrderRow, event: Begun | machine.Told | Undecided | Granted | Refused
) -> OrderRow:
    now = world.clock.wall()
    after = machine.step(order_of(row), event, now, pick_number(0, 1000) / 1000)
    return replace(
        row,
        state=after.state,
        next_at=after.next_at,
        failures=after.failures,
        reason=after.reason,
        # When the last order was begun is what the authority counts by.
        began_at=after.began_at or row.began_at,
        url=after.url,
        updated_at=now,
    )


async def _either(*waits: Coroutine[Any, Any, object]) -> None:
    """Until the first is over."""
    tasks = [asyncio.create_task(each) for each in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
