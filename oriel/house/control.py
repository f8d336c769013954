"""Puts the rooms together into control: the process that answers the API and git, keeps the
ledger, runs the dynos and tells the router. The one place that knows how each room is made, and
the order of start and stop: stop is start, backwards.

SIGTERM: stop and leave the dynos running. SIGUSR1: stop the dynos first.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import pwd
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
from sqlalchemy import Connection

from oriel import faults
from oriel.api.app import build as build_api
from oriel.authority import Authority
from oriel.builder import Builder, Environment, Repositories
from oriel.clock import Clock, SystemClock
from oriel.control import accounts, record, recovery, running
from oriel.control.acme import Certifier
from oriel.control.overflow import Overflow
from oriel.control.pages import Pages
from oriel.control.shipper import Shipper
from oriel.control.sleeper import Sleeper
from oriel.control.world import Settings, World
from oriel.egress import Dialer, Rules
from oriel.house import ports
from oriel.house import settings as house_settings
from oriel.house.holders import Holders
from oriel.house.layout import Layout
from oriel.house.own_tls import ApiTls, OwnCertificate, api_names, web_names
from oriel.ledger import Vault
from oriel.ledger import apps as ledger_apps
from oriel.ledger import vault as vaults
from oriel.logplex.client import Logplex
from oriel.manifold import Conductor
from oriel.manifold.local.launcher import LocalLauncher
from oriel.people.throttle import Throttle
from oriel.rendezvous import Rendezvous
from oriel.router import Listen, Router, Waker, unprivileged_user, waker_name
from oriel.sandbox import Openings, Sandboxes
from oriel.store.database import Database

UID_BASE = 0x4F520000
"""Where the uids of apps begin, where Oriel runs as root: far from people's and containers'."""

BUILD_VARIABLES = (
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    *("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"),
)
"""What builds get of the environment of `oriel up`: how to reach packages, nothing else."""

STOP_GRACE_S = 5
"""How long requests under way may take once control is asked to stop."""

_log = logging.getLogger("oriel.house.control")


class _Server(uvicorn.Server):
    """uvicorn without its own way with signals: control decides when it stops."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


def main() -> None:
    """`python -m oriel.house.control --data DIR`."""
    parser = argparse.ArgumentParser(prog="oriel-control")
    parser.add_argument("--data", required=True, type=Path)
    data = parser.parse_args().data
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s: %(message)s"
    )
    os.umask(0o077)
    ports.keep_to_ourselves()
    try:
        asyncio.run(serve(data, SystemClock()))
    except faults.Fault as fault:
        sys.exit(f"oriel: {fault.message} {fault.hint}".rstrip())


async def serve(data: Path, clock: Clock) -> None:
    """Run control on a data directory until it is told to stop."""
    asked = asyncio.get_running_loop().create_future()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        asyncio.get_running_loop().add_signal_handler(number, _ask, asked, number)
    kept = house_settings.load(Layout(data).settings)
    if kept is None:
        raise faults.Invalid(f"{data} has no settings.", hint=f"Type: oriel up --data {data}")
    async with world_of(data, kept, clock) as world, _listening(world, kept, data):
        if await asked == signal.SIGUSR1:
            await _stop_dynos(world)


def _ask(asked: asyncio.Future[signal.Signals], number: signal.Signals) -> None:
    if not asked.done():
        asked.set_result(number)


@asynccontextmanager
async def world_of(data: Path, kept: house_settings.Settings, clock: Clock) -> AsyncIterator[World]:
    """The rooms of a data directory, started in their order, what a kill left undone put right."""
    layout = Layout(data)
    async with AsyncExitStack() as stack:
        db = Database.open(kept.database, clock)
        stack.callback(db.close)
        vault = await _vault(db, Path(kept.key_file) if kept.key_file else data / "master.key")
        logplex = Logplex(layout.logplex_socket)
        sandboxes = Sandboxes(
            data, openings=_openings(kept), isolated=kept.isolation != house_settings.NO_ISOLATION
        )
        await sandboxes.start()
        stack.push_async_callback(sandboxes.close)
        router = Router(
            directory=layout.haproxy_config.parent,
            runtime_socket=layout.run / "haproxy.sock",
            master_socket=layout.haproxy_master_socket,
            waker=waker_name(data),
            web=Listen(kept.web.host, kept.web.port),
            web_tls=Listen(kept.web_tls.host, kept.web_tls.port) if kept.web_tls else None,
            log_port=kept.router_log_port,
            clock=clock,
            trusted=kept.trust_proxy,
        )
        rerouter = running.Rerouter(router)
        holders = Holders(layout.up_socket, logplex)
        stack.callback(holders.close)
        launcher = LocalLauncher(
            data, sandboxes, holders.hold, holders.release, clock, spares_max=kept.spares
        )
        conductor = Conductor(
            launcher=launcher,
            db=db,
            clock=clock,
            changed=rerouter.changed,
            before_stop=lambda app_id: rerouter.settled(),
            drained=lambda app_id, name, instance: router.drained(app_id, f"{name}:{instance[:8]}"),
        )
        authority = Authority.open(layout.authority, clock)
        certifier = Certifier()
        rendezvous = _rendezvous(kept, authority, clock)
        # A client of its own: what others ask may take its time.
        overflow = Overflow(layout.dynos, Logplex(layout.logplex_socket), clock)
        world = World(
            settings=_settings(data, kept),
            db=db,
            clock=clock,
            vault=vault,
            logplex=logplex,
            conductor=conductor,
            router=router,
            repositories=Repositories(data, sandboxes, clock),
            builder=Builder(data, sandboxes, clock, environment=_build_environment()),
            throttle=Throttle(),
            reroute=rerouter.ask,
            routed=rerouter.settled,
            order_certificates=certifier.ask,
            own_certificate=OwnCertificate(authority, web_names(kept)).pem,
            overflow=overflow,
            rendezvous=rendezvous,
            authority=authority,
        )
        dialer = Dialer(Rules.parse(kept.allow_egress))
        stack.callback(dialer.close)
        world.pages = Pages(data / "pages", dialer, _saying(world), rerouter.ask)
        await accounts.prepare_setup(world)
        shipper = Shipper(db, logplex, clock, conductor.drained)
        await conductor.start()
        stack.push_async_callback(conductor.close)
        overflow.start()
        stack.push_async_callback(overflow.close)
        shipper.start()
        stack.push_async_callback(shipper.close)
        stack.push_async_callback(world.pages.close)
        table = await db.read(lambda conn: running.routes(conn, world))
        await router.start(table)
        stack.push_async_callback(router.close)
        rerouter.start(world)
        stack.push_async_callback(rerouter.close)
        certifier.start(world)
        stack.push_async_callback(certifier.close)
        rendezvous.start()
        stack.push_async_callback(rendezvous.close)
        stack.push_async_callback(world.sessions.close)
        await recovery.recover(world)
        async with _idling(world, data):
            yield world


@asynccontextmanager
async def _idling(world: World, data: Path) -> AsyncIterator[None]:
    """Apps without requests go idle, and are woken."""
    sleeper = Sleeper(world)
    world.idling_changed = sleeper.changed
    waker = Waker(waker_name(data), sleeper.wake, world.clock, user=unprivileged_user())
    await waker.start()
    sleeper.start()
    try:
        yield
    finally:
        await sleeper.close()
        await waker.close()


@asynccontextmanager
async def _listening(
    world: World, kept: house_settings.Settings, data: Path
) -> AsyncIterator[None]:
    """The API and git, on their port."""
    config = uvicorn.Config(
        build_api(world),
        host=kept.api.host,
        port=kept.api.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # else whoever connects chooses the address that logins are counted by
        timeout_graceful_shutdown=STOP_GRACE_S,
        timeout_keep_alive=65,
        lifespan="off",
    )
    config.load()
    keeping: asyncio.Task[None] | None = None
    if kept.has_tls:
        authority = Authority.open(Layout(data).authority, world.clock)
        tls = ApiTls(kept, OwnCertificate(authority, api_names(kept)))
        config.ssl = tls.context
        keeping = asyncio.create_task(tls.keep(world.clock))
    server = _Server(config)
    serving = asyncio.create_task(server.serve())
    ready = Layout(data).control_ready
    try:
        while not server.started and not serving.done():
            await world.clock.sleep(0.005)
        if not serving.done():
            ready.write_text(json.dumps({"pid": os.getpid()}))
            yield
    finally:
        ready.unlink(missing_ok=True)
        server.should_exit = True
        if keeping is not None:
            keeping.cancel()
        await serving


def _rendezvous(kept: house_settings.Settings, authority: Authority, clock: Clock) -> Rendezvous:
    """Its certificate is good for every name that this machine is known by here."""
    listen = kept.rendezvous
    shown = (kept.domain or "localhost") if listen.is_wildcard else listen.host
    names = {shown, "localhost", "127.0.0.1", "::1"}
    if not kept.api.is_wildcard:
        names.add(kept.api.host)
    if kept.domain:
        names |= {kept.domain, f"api.{kept.domain}", f"oriel.{kept.domain}"}
    return Rendezvous(listen, shown, authority.server(names).context, clock)


def _saying(world: World) -> Callable[[str, str], Awaitable[None]]:
    """How a room that knows no ledger puts a line into an app's log."""

    async def say(app_id: str, text: str) -> None:
        def work(conn: Connection) -> None:
            record.say(conn, world, ledger_apps.by_name_or_id(conn, app_id), "pages", text)

        await world.db.write(work)

    return say


async def _vault(db: Database, key_file: Path) -> Vault:
    """The vault; a new master key only where there is nothing yet that an old one sealed."""
    if not key_file.exists() and await db.read(ledger_apps.any_at_all):
        raise faults.Unavailable(
            f"The master key is not at {key_file}, and without it no app's config can be read.",
            hint="Put it back there from your backup, or say where it is: oriel up --key-file FILE",
        )
    return vaults.load_or_create(key_file)


def _openings(kept: house_settings.Settings) -> Openings:
    """Dynos may come where everybody may, to apps' own addresses and the API's; to them comes the
    router.
    """
    doors = {each.port for each in (kept.web, kept.api) if not each.is_loopback}
    user = unprivileged_user()
    visitors = (pwd.getpwnam(user).pw_uid,) if user else ()
    return Openings(tuple(sorted(doors)), visitors)


def _build_environment() -> Environment:
    """The proxy and mirror that `oriel up` was started with hold for builds too, and are reached
    from them on this machine's loopback as well, though nothing else of it is.
    """
    env = {name: os.environ[name] for name in BUILD_VARIABLES if name in os.environ}
    return Environment(
        env,
        reach=loopback_ports(value for name, value in env.items() if name.lower() != "no_proxy"),
    )


def loopback_ports(values: Iterable[str]) -> tuple[int, ...]:
    """The ports of the URLs in these values that are on this machine's loopback."""
    found: set[int] = set()
    for word in (word for value in values for word in re.split(r"[\s,]+", value)):
        with contextlib.suppress(ValueError):
            url = urlsplit(word if "://" in word else f"http://{word}")
            port = url.port or {"http": 80, "https": 443}.get(url.scheme)
            if port and (url.hostname or "") in ("localhost", "127.0.0.1", "::1"):
                found.add(port)
    return tuple(sorted(found))


async def _stop_dynos(world: World) -> None:
    found = await world.db.read(ledger_apps.all)
    await asyncio.gather(*[world.conductor.forget(app.id) for app in found])


def _settings(data: Path, kept: house_settings.Settings) -> Settings:
    return Settings(
        data=data,
        api=kept.api,
        web=kept.web,
        domain=kept.domain,
        tls=kept.has_tls,
        web_tls=kept.web_tls,
        acme_directory=kept.acme_directory,
        acme_ca=kept.acme_ca,
        uid_base=UID_BASE if os.geteuid() == 0 else None,
    )


if __name__ == "__main__":
    main()
