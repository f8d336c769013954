"""Owns the way from the ledger to what runs: head release, config and quantities become a wish
for the manifold, and its web dynos a route table for the router.

Must not know why anything changed. Carrying out is the manifold's and the router's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import Connection

from oriel.control import edge
from oriel.control.dynos import sleeps
from oriel.control.pages import Pages
from oriel.control.world import Settings, World
from oriel.ledger import App, Release, apps, releases, settings
from oriel.lexicon import PLATFORM, RELEASE_TYPE, Actor
from oriel.manifold import Check, Conductor, Dyno, Process, Wish
from oriel.router import AppRoute, Mode, Router, RouteTable, Server

REROUTE_PAUSE_S = 0.005
"""Changes that come within this time of each other make one new route table."""

SETTLED_WAIT_S = 5.0
"""How long an answer to who changed something waits for the router to have it."""

BOOT_TIMEOUT_S = 60
"""How long web dynos may take to be up, unless their app sets another time (heroku-facts D3)."""

START_PARALLEL = 8
"""How many apps are brought up at once after a start."""

_log = logging.getLogger("oriel.control.running")


def wish_of(
    conn: Connection, world: World, app: App, release: Release | None = None
) -> Wish | None:
    """What should run of `app` from `release` (default: its head); None before any code."""
    release = release or releases.head(conn, app.id)
    if release is None:
        return None
    scales = settings.quantities(conn, app.id)
    processes = {
        type_: Process(
            command=command,
            quantity=scales[type_].quantity if type_ in scales else 0,
            size=scales[type_].size if type_ in scales else "standard-1x",
        )
        for type_, command in release.process_types.items()
        if type_ != RELEASE_TYPE
    }
    check = settings.check(conn, app.id)
    return Wish(
        app_id=app.id,
        app=app.name,
        channel=app.channel,
        uid=app.uid,
        release=release.version,
        slug=slug_path(world.settings, app, release),
        env=releases.config(world.vault, app, release),
        processes=processes,
        check=Check(
            path=check.path if check else "",
            host=world.settings.app_host(app.name),
            boot_timeout_s=check.boot_timeout_s if check else BOOT_TIMEOUT_S,
        ),
        cycles=settings.has_feature(conn, app.id, settings.DAILY_CYCLING),
    )


def slug_path(where: Settings, app: App, release: Release) -> Path | None:
    """The directory of the release's slug."""
    return where.data / "slugs" / app.id / release.slug_id if release.slug_id else None


async def apply(world: World, app_id: str, by: Actor) -> None:
    """Bring what runs of an app to what its ledger says; returns when the orders are given."""

    def work(conn: Connection) -> Wish | None:
        app = apps.by_name_or_id(conn, app_id)
        return wish_of(conn, world, app)

    # Read and told in one turn: of two changes at once, the older wish must not come last.
    async with world.gates.wish(app_id):
        wish = await world.db.read(work)
        if wish is not None:
            if world.pages:
                world.pages.look(app_id, wish.env)
            await world.conductor.wish(wish, by=by)
    world.reroute()


async def apply_all(world: World) -> None:
    """The same for every app: after a start, so that what a kill left half done is finished."""
    turns = asyncio.Semaphore(START_PARALLEL)

    async def one(app: App) -> None:
        async with turns:
            try:
                await apply(world, app.id, PLATFORM)
            except Exception:
                # One app that cannot be brought up must not keep the others down.
                _log.exception("app %s could not be brought up", app.name)

    await asyncio.gather(*[one(app) for app in await world.db.read(apps.all)])


def route_table(
    conn: Connection, where: Settings, conductor: Conductor, pages: Pages | None = None
) -> RouteTable:
    """Every app's hostnames and web dynos, as the router should have them now."""
    routes = []
    sticky = settings.apps_with(conn, settings.SESSION_AFFINITY)
    for app in apps.all(conn):
        head = releases.head(conn, app.id)
        web = [each for each in conductor.dynos(app.id, "web") if each.serving]
        scale = settings.quantities(conn, app.id).get("web")
        servers = tuple(
            Server(name=str(dyno.name), instance=dyno.instance, host=dyno.host, port=dyno.port)
            for dyno in web
            if dyno.state == "up" and dyno.port is not None
        )
        routes.append(
            AppRoute(
                app_id=app.id,
                app=app.name,
                channel=app.channel,
                hosts=(where.app_host(app.name),),
                servers=servers,
                mode=mode_of(app, head, scale.quantity if scale else 0, web, bool(servers)),
                error_page=pages.of(app.id, "error") if pages else "",
                maintenance_page=pages.of(app.id, "maintenance") if pages else "",
                sticky=app.id in sticky,
            )
        )
    return RouteTable(apps=tuple(routes))


def routes(conn: Connection, world: World) -> RouteTable:
    """The same with the domains, certificates and redirects of each app."""
    plain = route_table(conn, world.settings, world.conductor, world.pages)
    return edge.dressed(conn, world, plain)


def mode_of(
    app: App, head: Release | None, quantity: int, web: list[Dyno], has_servers: bool
) -> Mode:
    """How the router should answer for an app (heroku-facts C: H80, H81, H14, H10, H20)."""
    if app.maintenance:
        return "maintenance"
    if head is None or head.slug_id is None:
        return "blank"
    if has_servers:
        return "serve"
    if "web" not in head.process_types or quantity == 0:
        return "none"
    if any(map(sleeps, web)):
        return "idle"
    if any(dyno.state == "crashed" for dyno in web):
        return "crashed"
    # Without a dyno yet, one is about to be started; with all stopped by hand, none will be.
    return "none" if web and all(dyno.state == "down" for dyno in web) else "booting"


_Seen = tuple[tuple[object, ...], ...]
"""What the router's table says of an app's dynos."""


def _seen(dynos: Iterable[Dyno]) -> _Seen:
    return tuple(
        (each.name, each.instance, each.host, each.port, each.state, each.serving, sleeps(each))
        for each in dynos
    )


class Rerouter:
    """Makes a new route table whenever something asked for one, merging storms. A dyno that changes
    asks for none where no route changes by it: most dynos that start are no web dynos.
    """

    def __init__(self, router: Router) -> None:
        """`start` gives it the world."""
        self._router = router
        self._asked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._is_due = False
        self._changed: set[str] = set()
        self._seen: dict[str, _Seen] = {}
        """By app; nothing of one that has none."""

    def ask(self) -> None:
        """Something may have changed, here or in what the router has."""
        self._is_due = True
        self._asked.set()

    def changed(self, app_id: str) -> None:
        """The dynos of an app are not what they were."""
        self._changed.add(app_id)
        self._asked.set()

    async def settled(self) -> None:
        """Come back when the router has been told of everything until now, or after 5 s: it is told
        as soon as it can be.
        """
        told = asyncio.get_running_loop().create_future()
        self._waiting.append(told)
        self.ask()
        await asyncio.wait({told}, timeout=SETTLED_WAIT_S)
        told.cancel()  # Nobody waits for it any more; it is not kept until the router answers.

    def start(self, world: World) -> None:
        """Begin to serve."""
        self._task = asyncio.create_task(self._serve(world))

    async def close(self) -> None:
        """Stop serving."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _serve(self, world: World) -> None:
        while True:
            await self._asked.wait()
            await world.clock.sleep(REROUTE_PAUSE_S)
            self._asked.clear()
            if not self._look(world):
                continue
            waiting, self._waiting = self._waiting, []
            try:
                table = await world.db.read(lambda conn: routes(conn, world))
                await self._router.apply(table)
                for told in waiting:
                    if not told.done():
                        told.set_result(None)
            except Exception:
                _log.exception("routes could not be brought up to date; trying again")
                self._waiting += [told for told in waiting if not told.done()]
                await world.clock.sleep(1.0)
                self.ask()

    def _look(self, world: World) -> bool:
        """Whether a table is to be made: one was asked for, or web dynos are others by now."""
        is_due, self._is_due = self._is_due, False
        changed, self._changed = self._changed, set()
        for app_id in changed:
            seen = _seen(world.conductor.dynos(app_id, "web"))
            is_due |= seen != self._seen.get(app_id, ())
            self._seen[app_id] = seen
            if not seen:
                del self._seen[app_id]
        return is_due
