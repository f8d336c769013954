"""Owns log drains as users see them: who may have which, and what is written down about it.

Logplex keeps them, sends, and counts. A drain without an act is one whose making a kill cut short:
`settle` takes it back, and finishes a removal that was written down. Must not know URLs' inside,
or how lines are sent.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from oriel import faults
from oriel.clock import new_id
from oriel.control import access, moments, record
from oriel.control.world import World
from oriel.ledger import App, acts, apps, releases
from oriel.lexicon import Actor

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ADD, _REMOVE, _REPLAY = "drains:add", "drains:remove", "drains:replay"

_log = logging.getLogger("oriel.control.drains")


@dataclass(frozen=True, slots=True)
class Drain:
    """A drain and how it is; `url` without its secrets."""

    id: str
    token: str
    url: str
    app_id: str
    app: str
    created_at: datetime
    state: str
    state_since: datetime
    answer: str
    answered_at: datetime | None
    lag_lines: int
    lag_bytes: int
    lag_s: float
    delivered: int
    lost: int
    retries: int


@dataclass(frozen=True, slots=True)
class Tested:
    """What became of one line."""

    taken: bool
    answer: str
    took_s: float
    drain: Drain


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many lines are sent again."""

    lines: int
    drain: Drain


async def list_drains(world: World, actor: Actor, app: str) -> list[Drain]:
    """The app's drains, oldest first."""
    found = await access.app_of(world, actor, app)
    return [_drain(found, each) for each in await world.logplex.drains(found.channel)]


async def drain(world: World, actor: Actor, app: str, name: str) -> Drain:
    """One of them, by id, token or URL."""
    found = await access.app_of(world, actor, app)
    return await _one(world, found, name)


async def add_drain(world: World, actor: Actor, app: str, url: str) -> Drain:
    """Send everything that the app says from now on to a URL."""
    found = await access.app_of(world, actor, app)
    id_, token = new_id(), new_id()
    async with world.gates.change(found.id, found.name):
        made = _drain(found, await world.logplex.add_drain(found.channel, url, id_, token))

        def work(conn: Connection) -> None:
            still = access.find(conn, actor, found.id)
            lines = [f"Add log drain {made.url}"]
            record.act(conn, world, actor, still, _ADD, _detail(made), lines)

        try:
            await world.db.write(work)
        except BaseException:
            await world.logplex.remove_drain(found.channel, id_)
            raise
    return made


async def remove_drain(world: World, actor: Actor, app: str, name: str) -> Drain:
    """Send no more; what waits is not sent."""
    found = await access.app_of(world, actor, app)
    async with world.gates.change(found.id, found.name):
        it = await _one(world, found, name)

        def work(conn: Connection) -> None:
            still = access.find(conn, actor, found.id)
            lines = [f"Remove log drain {it.url}"]
            record.act(conn, world, actor, still, _REMOVE, _detail(it), lines)

        await world.db.write(work)
        await world.logplex.remove_drain(found.channel, it.id)
    return it


async def test_drain(world: World, actor: Actor, app: str, name: str) -> Tested:
    """Send one line to the receiver now, and say what it answered.

    A drain that was paused, or waited, goes on at once when the line was taken.
    """
    found = await access.app_of(world, actor, app)
    it = await _one(world, found, name)
    text = f"Test of drain {it.token} by {actor.email}"
    said = await world.logplex.test_drain(found.channel, it.id, text)
    return Tested(
        bool(said["taken"]),
        str(said["answer"]),
        float(said["took_s"]),
        _drain(found, said["drain"]),
    )


async def replay_drain(world: World, actor: Actor, app: str, name: str, since: str) -> Replayed:
    """Send everything again that was said since then: a time, an age, a release."""
    found = await access.app_of(world, actor, app)
    moment = await _moment(world, found, since)
    since_us = max(0, (moment - _EPOCH) // timedelta(microseconds=1))
    it = await _one(world, found, name)

    def work(conn: Connection) -> None:
        still = access.find(conn, actor, found.id)
        detail = {**_detail(it), "since": moment.isoformat()}
        lines = [f"Replay log drain {it.token} since {moment.isoformat(timespec='seconds')}"]
        record.act(conn, world, actor, still, _REPLAY, detail, lines)

    await world.db.write(work)
    said = await world.logplex.replay_drain(found.channel, it.id, since_us)
    return Replayed(int(said["lines"]), _drain(found, said["drain"]))


async def settle(world: World) -> None:
    """After a kill: drains are what the acts say. Channels that are no app's are left alone."""
    try:
        there = await world.logplex.drains()
        if not there:
            return
        by_channel = {each.channel: each for each in await world.db.read(apps.all)}
        for each in there:
            app = by_channel.get(each["channel"])
            if app:
                await _settle_one(world, app, each["id"])
    except faults.Fault as fault:
        _log.warning("drains are looked at after the next start: %s", fault)


async def _settle_one(world: World, app: App, drain: str) -> None:
    done = await world.db.read(lambda conn: acts.with_verbs(conn, app.id, (_ADD, _REMOVE)))
    verbs = [act.verb for act in done if act.detail.get("drain") == drain]
    if verbs[-1:] != [_ADD]:
        _log.info("drain %s of %s was not meant to be; it is removed", drain, app.name)
        await world.logplex.remove_drain(app.channel, drain)


async def _one(world: World, app: App, name: str) -> Drain:
    try:
        return _drain(app, (await world.logplex.drains(app.channel, name))[0])
    except faults.NotFound:
        raise faults.NotFound(
            "Couldn't find that log drain.",
            hint=f"See them with: oriel drains -a {app.name}",
            resource="log-drain",
            app=app.name,
        ) from None


async def _moment(world: World, app: App, text: str) -> datetime:
    version = moments.release_of(text)
    if version is None:
        return moments.moment(text, world.clock.wall())
    return await world.db.read(lambda conn: releases.get(conn, app.id, version).created_at)


def _detail(it: Drain) -> dict[str, str]:
    return {"drain": it.id, "token": it.token, "url": it.url}


def _drain(app: App, told: dict[str, Any]) -> Drain:
    return Drain(
        id=told["id"],
        token=told["token"],
        url=told["url"],
        app_id=app.id,
        app=app.name,
        created_at=_at(told["created_us"]),
        state=told["state"],
        state_since=_at(told["state_since_us"]),
        answer=told["answer"],
        answered_at=_at(told["answer_us"]) if told["answer_us"] else None,
        lag_lines=told["lag_lines"],
        lag_bytes=told["lag_bytes"],
        lag_s=told["lag_s"],
        delivered=told["delivered"],
        lost=told["lost"],
        retries=told["retries"],
    )


def _at(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)
