"""Owns what users do with the ledger: look, compare, verify, roll back, retry."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta

from sqlalchemy import Connection

from oriel import faults
from oriel.control import access, capability, releasing
from oriel.control.world import World
from oriel.ledger import App, Diff, Release, Report, apps, drafts, slugs
from oriel.ledger import diff as diffs
from oriel.ledger import releases as ledger
from oriel.ledger import verify as verifying
from oriel.lexicon import RELEASE_TYPE, Actor, ReleaseNumber
from oriel.logplex.client import Query

LIST_MAX = 1000
OUTPUT_LIVES = timedelta(hours=24)
_OUTPUT = "release-output"
_CHANNEL_LINES_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class ReleaseCard:
    """A release and how it stands to the others."""

    release: Release
    current: bool
    eligible_for_rollback: bool
    output_url: str | None
    """Where what its release command said can be read; None where it had none."""
    previous: int | None = None
    """The head before it, where that is known: the release to go back to."""


async def releases(
    world: World,
    actor: Actor,
    app: str,
    *,
    limit: int,
    newest_first: bool = True,
    before: int | None = None,
) -> list[ReleaseCard]:
    """At most `limit` releases; `before` leaves out that number and all newer ones."""

    def work(conn: Connection) -> list[ReleaseCard]:
        found = access.find(conn, actor, app)
        head = ledger.head(conn, found.id)
        listed = ledger.newest(conn, found.id, min(limit, LIST_MAX), before)
        return [_card(world, found, each, head) for each in listed]

    cards = await world.db.read(work)
    return cards if newest_first else cards[::-1]


async def release(world: World, actor: Actor, app: str, ref: str) -> ReleaseCard:
    """One release, by number (`74`, `v74`) or id."""

    def work(conn: Connection) -> ReleaseCard:
        found = access.find(conn, actor, app)
        return _card(world, found, _find(conn, found, ref), ledger.head(conn, found.id))

    return await world.db.read(work)


async def release_config(world: World, actor: Actor, app: str, ref: str) -> dict[str, str]:
    """The config that a release holds."""

    def work(conn: Connection) -> dict[str, str]:
        found = access.find(conn, actor, app)
        return ledger.config(world.vault, found, _find(conn, found, ref))

    return await world.db.read(work)


async def roll_back(world: World, actor: Actor, app: str, to: str | None) -> ReleaseCard:
    """Append a copy of an earlier release's code and config. Never builds.

    Without `to`: the newest succeeded release before the state that the head is, so that twice
    goes two back.
    """
    found = await access.app_of(world, actor, app)

    def plan(conn: Connection) -> releasing.Intent:
        target = _find(conn, found, to) if to else _back(conn, found)
        if target.status != "succeeded":
            raise faults.Invalid(
                f"v{target.version} of {found.name} is {target.status}: there is nothing to go "
                "back to.",
                hint=f"Choose a release that succeeded: oriel releases -a {found.name}",
                app=found.name,
            )
        state = ledger.state(conn, world.vault, found, target)
        draft = drafts.rollback(state, target.copy_of)
        return releasing.Intent("rollback", draft, {"to": target.version})

    return _made(world, found, await releasing.make(world, actor, found, plan))


async def retry(
    world: World, actor: Actor, app: str, slug_id: str, description: str
) -> ReleaseCard:
    """Append a release of a slug that the app has, with the head's config."""
    found = await access.app_of(world, actor, app)

    def plan(conn: Connection) -> releasing.Intent:
        head = releasing.head_state(conn, world, found)
        deploy = drafts.deploy(head, slugs.get(conn, found.id, slug_id))
        draft = replace(deploy, description=description[:200] or deploy.description)
        return releasing.Intent("releases:retry", draft, {"slug": slug_id})

    return _made(world, found, await releasing.make(world, actor, found, plan))


async def diff(world: World, actor: Actor, app: str, a: str, b: str, *, reveal: bool) -> Diff:
    """What changed from one release to another; config values are masked unless `reveal`."""

    def work(conn: Connection) -> Diff:
        found = access.find(conn, actor, app)
        old, new = (
            ledger.state(conn, world.vault, found, _find(conn, found, ref)) for ref in (a, b)
        )
        return diffs.diff(old, new, reveal)

    return await world.db.read(work)


async def verify(world: World, actor: Actor, app: str) -> Report:
    """Check the app's ledger against itself and against the heads its channel tells of."""
    found = await access.app_of(world, actor, app)
    heads = await _heads_in_channel(world, found)
    return await world.db.read(lambda conn: verifying.verify(conn, world.vault, found.id, heads))


async def output(world: World, text: str) -> AsyncIterator[bytes]:
    """What a release command said, as plain lines, until it has ended."""
    claims = capability.redeem(world.vault, _OUTPUT, text, world.clock.wall())

    def work(conn: Connection) -> tuple[App, Release]:
        app = apps.by_name_or_id(conn, claims["app"])
        return app, ledger.get(conn, app.id, claims["release"])

    app, found = await world.db.read(work)
    query = Query(
        lines=_CHANNEL_LINES_MAX,
        tail=found.status == "pending",
        after=None,
        sources=("app",),
        ps=(f"{RELEASE_TYPE}.{found.version}",),
        format="json",
    )
    return _said(world, app, query)


async def _said(world: World, app: App, query: Query) -> AsyncIterator[bytes]:
    async for batch in world.logplex.read(app.channel, query):
        said = [json.loads(line)["text"] for line in batch.text.splitlines()]
        yield "".join(f"{line}\n" for line in said).encode()


async def _heads_in_channel(world: World, app: App) -> dict[int, str]:
    heads: dict[int, str] = {}
    query = Query(
        lines=_CHANNEL_LINES_MAX,
        tail=False,
        after=None,
        sources=("heroku",),
        ps=("api",),
        format="json",
    )
    async for batch in world.logplex.read(app.channel, query):
        for line in batch.text.splitlines():
            data = json.loads(line).get("data") or {}
            if "release" in data and "mac" in data:
                heads[int(data["release"])] = data["mac"]
    return heads


def _back(conn: Connection, app: App) -> Release:
    """Where a rollback without a target leads: out of one that is not up yet, to what runs."""
    beside = ledger.pending(conn, app.id) and ledger.head(conn, app.id)
    return beside or ledger.rollback_target(conn, app.id)


def _find(conn: Connection, app: App, ref: str) -> Release:
    if len(ref) == 36:
        return ledger.by_id(conn, app.id, ref)
    return ledger.get(conn, app.id, int(ReleaseNumber.parse(ref)))


def _made(world: World, app: App, made: releasing.Made | None) -> ReleaseCard:
    if made is None:
        raise faults.Broken(f"A release of {app.name} that was to be made was not.")
    head = made.release if made.release.status == "succeeded" else None
    return _card(world, app, made.release, head, made.previous)


def _card(
    world: World, app: App, found: Release, head: Release | None, previous: int | None = None
) -> ReleaseCard:
    url = None
    if found.slug_id and RELEASE_TYPE in found.process_types:
        claims = {"app": app.id, "release": found.version}
        now = world.clock.wall()
        text = capability.issue(world.vault, _OUTPUT, claims, now, OUTPUT_LIVES)
        url = f"{world.settings.api_url}/release-outputs/{text}"
    return ReleaseCard(
        release=found,
        current=head is not None and head.version == found.version,
        eligible_for_rollback=found.status == "succeeded" and found.slug_id is not None,
        output_url=url,
        previous=previous,
    )
