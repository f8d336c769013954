"""A world for the API's tests: real database, ledger, people and verbs; the rooms that would
start processes are stand-ins that remember what they were told."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast

from starlette.types import ASGIApp

from oriel import faults
from oriel.api.app import build
from oriel.clock import SystemClock
from oriel.control import accounts, apps, releasing
from oriel.control.world import Settings, World
from oriel.ledger import Draft, Slug, settings, slugs, vault
from oriel.ledger import releases as ledger_releases
from oriel.lexicon import Actor, Address, DynoName
from oriel.logplex.client import Batch, Query
from oriel.manifold import Dyno, Exit, Once, Wish
from oriel.manifold.launcher import Usage
from oriel.manifold.watch import Watchers
from oriel.people.throttle import Throttle
from oriel.store.database import Database

from .asgi import Answer, Client

PASSWORD = "correct horse battery"
NED, KATE = "ned@foobazco.com", "kate@foobazco.com"
PROCESSES = {"web": "gunicorn app:app -b 0.0.0.0:$PORT", "worker": "python worker.py"}

T = TypeVar("T")


class OneOffs:
    """Whatever is run once does well."""

    async def run(self, wish: Wish, once: Once, **more: Any) -> Exit:
        return Exit(code=0)


class Conductor:
    """Runs nothing; says that whatever was wished for is up."""

    def __init__(self) -> None:
        self.wishes: dict[str, Wish] = {}
        self.told: list[tuple[str, str | None]] = []
        self.since = datetime(2011, 6, 19, 8, 35, 19, 250000, tzinfo=UTC)
        self.one_offs = OneOffs()
        self.watchers = Watchers()
        self.takes = Usage(memory_bytes=300 << 20, swap_bytes=0, cpu_s=1.5, processes=4)
        self.states: dict[str, tuple[str, str]] = {}
        """By name what it is other than up, and why."""

    async def wish(self, wish: Wish, *, by: Actor) -> None:
        self.wishes[wish.app_id] = wish
        self.watchers.tell(wish.app_id)

    async def usage(self, app_id: str, only: str | None = None) -> dict[str, Usage]:
        dynos = [each for each in self.dynos(app_id) if only in (None, str(each.name))]
        return {each.instance: self.takes for each in dynos}

    def dynos(self, app_id: str, only: str | None = None) -> tuple[Dyno, ...]:
        wish = self.wishes.get(app_id)
        if wish is None:
            return ()
        return tuple(
            Dyno(
                instance=f"{index * 100 + number:032x}",
                name=DynoName(type_, number),
                app_id=app_id,
                command=process.command,
                size=process.size,
                state=self.states.get(f"{type_}.{number}", ("up", ""))[0],
                since=self.since,
                release=wish.release,
                host="127.0.0.1",
                port=20101 if type_ == "web" else None,
                reason=self.states.get(f"{type_}.{number}", ("up", ""))[1],
            )
            for index, (type_, process) in enumerate(sorted(wish.processes.items()), 1)
            for number in range(1, process.quantity + 1)
            if only in (None, type_)
        )

    async def restart(self, app_id: str, only: str | None, by: Actor) -> int:
        self.told.append(("restart", only))
        return 1

    async def stop(self, app_id: str, only: str | None, by: Actor) -> int:
        self.told.append(("stop", only))
        return 1

    async def preboot(self, wish: Wish, *, by: Actor) -> str:
        self.told.append(("preboot", f"v{wish.release}"))
        return ""

    def call_off(self, app_id: str, release: int) -> None:
        self.told.append(("call off", None))

    async def forget(self, app_id: str) -> None:
        self.wishes.pop(app_id, None)


class Logplex:
    """Has the same lines for every channel; a tail goes on until `more` is set."""

    def __init__(self) -> None:
        self.asked: list[Query] = []
        self.more = asyncio.Event()
        self.away = False
        self.kept: dict[str, object] = {
            "max_bytes": 1 << 30,
            "max_age_s": 2_592_000,
            "flood": "drop",
            "rate_bytes": 1 << 27,
        }
        self.lines = [
            "2011-06-19T08:35:19.000001+00:00 heroku[web.1]: State changed from starting to up",
            "2011-06-19T08:35:20.000002+00:00 app[web.1]: Listening",
        ]

    async def read(self, channel: str, query: Query) -> AsyncIterator[Batch]:
        if self.away:
            raise faults.Unavailable("Logplex is away.")
        self.asked.append(query)
        for number, line in enumerate(self.lines):
            if query.format == "json":
                line = self.as_json(line)
            if query.after is None or number > int(query.after):
                yield Batch(position=str(number), text=line.encode() + b"\n", lines=1, skipped=0)
        if query.tail:
            await self.more.wait()
            yield Batch(position="9", text=b"2011 app[web.1]: more\n", lines=1, skipped=0)

    @staticmethod
    def as_json(line: str) -> str:
        head, _, text = line.partition("]: ")
        time, _, of = head.partition(" ")
        source, _, ps = of.partition("[")
        return json.dumps({"time": time, "source": source, "ps": ps, "text": text})

    async def policy(
        self, channel: str, changes: Mapping[str, object] | None = None
    ) -> dict[str, Any]:
        self.kept.update(changes or {})
        return {"policy": self.kept, "segments": 2, "bytes": 300, "since_us": 5}

    async def check(self, channel: str) -> dict[str, Any]:
        found = {"what": "x", "segment": 1, "lines": None, "bytes": 7, "first_us": 0, "last_us": 0}
        return {"segments": 2, "damage": [found]}

    async def drains(
        self, channel: str | None = None, drain: str | None = None
    ) -> list[dict[str, Any]]:
        if drain:
            raise faults.NotFound("No drain.")
        return []

    async def forget(self, channel: str) -> None:
        pass


class Repositories:
    """Git's three services, as far as HTTP is concerned."""

    def __init__(self) -> None:
        self.received = b""
        self.protocols: list[str] = []
        self.cancelled = False
        self.building: asyncio.Event | None = None

    async def create(self, app_id: str, uid: int) -> None:
        pass

    async def remove(self, app_id: str) -> None:
        pass

    def size_bytes(self, app_id: str) -> int:
        return 4096

    async def advertise(self, app_id: str, uid: int, service: str, protocol: str = "") -> bytes:
        self.protocols.append(protocol)
        return f"001e# service={service}\n0000".encode()

    async def upload_pack(
        self,
        app_id: str,
        uid: int,
        body: AsyncIterator[bytes],
        send: Callable[..., Awaitable[None]],
        protocol: str = "",
    ) -> None:
        self.protocols.append(protocol)
        self.received = b"".join([chunk async for chunk in body])
        await send(b"PACK")

    async def receive_pack(
        self,
        app_id: str,
        uid: int,
        body: AsyncIterator[bytes],
        send: Callable[..., Awaitable[None]],
        on_push: Any,
        make_way: Any = None,
    ) -> None:
        self.received = b"".join([chunk async for chunk in body])
        await send(b"-----> building\n")
        try:
            if self.building:
                await self.building.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        await send(b"-----> done\n")


@dataclass
class Builder:
    data: Path

    def transcript_path(self, build_id: str) -> Path:
        return self.data / "builds" / f"{build_id}.log"

    async def forget(self, app_id: str) -> None:
        pass


@dataclass
class Site:
    """The world, its API, and the tokens of who lives there."""

    world: World
    api: ASGIApp
    conductor: Conductor
    logplex: Logplex
    repositories: Repositories
    tokens: dict[str, str] = field(default_factory=dict)

    async def send(self, method: str, path: str, *, by: str | None = NED, **more: Any) -> Answer:
        return await self.client(method, path, by=by, **more).run()

    def client(self, method: str, path: str, *, by: str | None = NED, **more: Any) -> Client:
        headers = dict(more.pop("headers", {}))
        if by is not None:
            headers.setdefault("authorization", f"Bearer {self.tokens[by]}")
        return Client(self.api, method, path, headers=headers, **more)

    async def account(self, email: str) -> Actor:
        """Let somebody in: the first is the owner."""
        if not self.tokens:
            token = accounts.setup_path(self.world).read_text().strip()
            await accounts.setup(self.world, token, email, PASSWORD)
        else:
            owner = await self.actor(next(iter(self.tokens)))
            invited = await accounts.add_user(self.world, owner, email)
            await accounts.accept_invitation(self.world, invited.secret, PASSWORD)
        login = await accounts.log_in(
            self.world, email, PASSWORD, description="test", expires_in_s=None, address="test"
        )
        self.tokens[email] = login.secret
        return Actor(login.account.id, email, "api")

    async def actor(self, email: str) -> Actor:
        login = await accounts.identify(self.world, self.tokens[email])
        assert login is not None
        return Actor(login.account.id, email, "api")

    async def deploy(self, app: str, digit: str, **processes: str) -> int:
        """A release of code that was never pushed; returns its number."""
        actor = await self.actor(NED)
        found = (await apps.app(self.world, actor, app)).app
        slug = Slug(
            id=digit * 64,
            app_id=found.id,
            commit=digit * 40,
            process_types=processes or PROCESSES,
            size_bytes=123_456,
            language="Python 3.11",
            checksum="SHA256:" + digit * 64,
            created_at=self.world.clock.wall(),
        )

        def plan(conn: Any) -> releasing.Intent:
            slugs.insert(conn, slug)
            head = ledger_releases.head(conn, found.id)
            config = ledger_releases.config(self.world.vault, found, head) if head else {}
            if "web" not in settings.quantities(conn, found.id):
                now = self.world.clock.wall()
                settings.set_scale(conn, found.id, "web", 1, "standard-1x", now)
            draft = Draft(
                kind="deploy", description=f"Deploy {digit * 7}", slug=slug, config=config
            )
            return releasing.Intent("deploy", draft, {})

        made = await releasing.make(self.world, actor, found, plan)
        assert made is not None
        return made.release.version


def site(data: Path) -> Site:
    """An installation without anybody."""
    data.mkdir(mode=0o700, exist_ok=True)
    clock = SystemClock()
    conductor, logplex, repositories = Conductor(), Logplex(), Repositories()
    world = World(
        settings=Settings(
            data=data,
            api=Address("127.0.0.1", 5050),
            web=Address("127.0.0.1", 8080),
            uid_base=200_000 if os.getuid() == 0 else None,
        ),
        db=Database.open(f"sqlite:///{data}/oriel.db", clock),
        clock=clock,
        vault=vault.load_or_create(data / "master.key"),
        logplex=cast(Any, logplex),
        conductor=cast(Any, conductor),
        router=cast(Any, None),
        repositories=cast(Any, repositories),
        builder=cast(Any, Builder(data)),
        throttle=Throttle(),
        reroute=lambda: None,
    )
    return Site(world, build(world), conductor, logplex, repositories)


def play(data: Path, tell: Callable[[Site], Coroutine[Any, Any, T]], *people: str) -> T:
    """A story on a fresh installation, where the given people live (Ned, unless said)."""

    async def whole() -> T:
        made = site(data)
        try:
            await accounts.prepare_setup(made.world)
            for email in people or (NED,):
                await made.account(email)
            return await asyncio.wait_for(tell(made), 20)
        finally:
            await asyncio.to_thread(made.world.db.close)

    return asyncio.run(whole())
