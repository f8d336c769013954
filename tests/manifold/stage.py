"""A stage for the conductor: a fake host, a stepped clock, a real database; and kills anywhere.

`Mortal` counts each step that control takes outside itself (a write, a call of the launcher) and
can stop it dead before or after any one: what is then left is what SIGKILL leaves.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import select

from oriel.clock import SystemClock
from oriel.faults import Unavailable
from oriel.lexicon import Actor, DynoName
from oriel.manifold import Conductor, Dyno, Process, Wish
from oriel.manifold.cause import Cause
from oriel.manifold.drawing import ARROWS
from oriel.manifold.machine import ENDED
from oriel.manifold.tables import crash_loops, dyno_events
from oriel.store import outbox
from oriel.store.database import Database
from tests.fakes.clock import SteppedClock
from tests.fakes.launcher import FakeLauncher

T = TypeVar("T")
NED = Actor("1", "ned@foobazco.com", "api")
KATE = Actor("2", "kate@foobazco.com", "api")
CALM_TURNS = 12
"""How many turns of the loop without a write mean that nothing is under way."""


class Mortal:
    """Control's life: at the step that it is told, everything of it stands still for ever."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.steps = 0
        self.is_dead = False
        self._dies_at = dies_at

    async def step(self) -> None:
        if not self.is_dead:
            self.steps += 1
            self.is_dead = self.steps - 1 == self._dies_at
        if self.is_dead:
            await asyncio.get_running_loop().create_future()


class MortalDatabase:
    """A database as control sees it: each write has a moment before and one after."""

    def __init__(self, db: Database, life: Mortal, *, blocks: bool = False) -> None:
        """One that `blocks` stops the loop while it writes: long stories are quicker so."""
        self._db, self._life, self._blocks = db, life, blocks
        self.busy = 0
        self.refuses = 0
        """How many writes from now on are refused."""

    async def write(self, work: Callable[..., T]) -> T:
        await self._life.step()
        if self._blocks and not self.refuses:
            written = self._db.write_now(work)
            await self._life.step()
            return written
        self.busy += 1
        try:
            if self.refuses:
                self.refuses -= 1
                raise Unavailable("The database cannot be used: database or disk is full.")
            done = await self._db.write(work)
        finally:
            self.busy -= 1
        await self._life.step()
        return done

    async def read(self, work: Callable[..., T]) -> T:
        self.busy += 1
        try:
            return await self._db.read(work)
        finally:
            self.busy -= 1


class MortalLauncher:
    """The fake host as one life of control sees it."""

    def __init__(self, host: FakeLauncher, life: Mortal) -> None:
        self._host, self._life = host, life
        self.place, self.adopt, self.listen = host.place, host.adopt, host.listen
        self.boots_max, self.is_busy = host.boots_max, host.is_busy
        self.spares_max, self.begin = host.spares_max, host.begin

    def __getattr__(self, name: str) -> Any:
        call: Callable[..., Awaitable[Any]] = getattr(self._host, name)

        async def stepped(*args: Any) -> Any:
            await self._life.step()
            answer = await call(*args)
            await self._life.step()
            return answer

        return stepped


@dataclass
class Stage:
    """One app's world, over any number of lives of control."""

    db: Database
    host: FakeLauncher = field(default_factory=FakeLauncher)
    clock: SteppedClock = field(default_factory=SteppedClock)
    app: str = "app-1"
    said: list[str] = field(default_factory=list)
    """The lines of the channel, as `web.1: text`."""
    conductor: Conductor = None  # type: ignore[assignment]
    life: Mortal = field(default_factory=Mortal)
    store: MortalDatabase = None  # type: ignore[assignment]
    ships: bool = True
    """Whether logplex takes lines."""
    blocks: bool = False
    """Whether the loop stands still during a write; quicker, and nothing overlaps it."""
    wished: Wish | None = None
    router_is_told: Callable[[], Awaitable[Any]] | None = None
    answered: Callable[[], Awaitable[Any]] | None = None
    """Comes back when what is under way at a dyno is answered."""
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    _heard: int = 0
    _kept: int = 0

    async def begin(self, dies_at: int | None = None) -> None:
        """Control starts, and carries the outbox to the channel."""
        self._tasks = set(asyncio.all_tasks())
        self.life = Mortal(dies_at)
        self.store = MortalDatabase(self.db, self.life, blocks=self.blocks)
        self.conductor = Conductor(
            launcher=MortalLauncher(self.host, self.life),
            db=self.store,  # type: ignore[arg-type]
            clock=self.clock,
            changed=lambda app_id: None,
            before_stop=self.before_stop,
            drained=self.drained,
            reaches=self.host.reaches,
        )
        await self.or_death(self.conductor.start())

    async def before_stop(self, app_id: str) -> None:
        """The router is told who serves."""
        if self.router_is_told:
            await self.router_is_told()

    async def drained(self, app_id: str, name: DynoName, instance: str) -> None:
        """No request is under way at it."""
        if self.answered:
            await self.answered()

    def serves(self, dyno: Dyno) -> bool:
        """Whether the router sends it requests."""
        return dyno.name.type == "web" and dyno.state == "up" and dyno.serving

    async def or_death(self, work: Awaitable[Any]) -> Any:
        """The outcome of `work`; None when control died under it."""
        task = asyncio.ensure_future(work)
        while not (task.done() or self.life.is_dead):
            await asyncio.sleep(0)
        if task.done():
            return task.result()
        return None

    async def kill(self) -> None:
        """SIGKILL: of control nothing goes on; what it wrote and started stays."""
        self.life.is_dead = True
        self.host.desert()
        mine = [each for each in asyncio.all_tasks() if each not in self._tasks]
        mine = [each for each in mine if each is not asyncio.current_task()]
        for task in mine:
            task.cancel()
        await asyncio.gather(*mine, return_exceptions=True)
        self.db.write_now(lambda conn: None)  # A write that had begun is carried out.

    async def restart_control(self) -> None:
        """Kill it and start it again: it takes up the last wish, as recovery does."""
        await self.kill()
        await self.begin()
        if self.wished:
            await self.conductor.wish(self.wished, by=NED)
        await self.settle()

    async def wish(self, release: int = 1, *, by: Actor = NED, **quantities: int) -> None:
        """The newest wish: this many of each type."""
        self.wished = wish(release, app_id=self.app, **quantities)
        await self.or_death(self.conductor.wish(self.wished, by=by))
        await self.settle()

    async def ask(self, work: Awaitable[Any]) -> Any:
        """The answer to what a user asks, which may take some time of the clock's."""
        asked = asyncio.ensure_future(work)
        await self.settle()
        while not asked.done():
            await self.advance(0.1)
            await asyncio.sleep(0)
        return asked.result()

    async def release(self, release: int, *, crashes: bool = False, **quantities: int) -> str:
        """A release with preboot, as control makes it: says why it failed, or nothing."""
        new = wish(release, app_id=self.app, **quantities)
        if crashes:
            web = replace(new.processes["web"], command="exit 1")
            new = replace(new, processes={**new.processes, "web": web})
        why = await self.ask(self.or_death(self.conductor.preboot(new, by=NED)))
        if not self.life.is_dead and not why:
            self.wished = new  # The ledger says so: it succeeded.
            await self.or_death(self.conductor.wish(new, by=NED))
            await self.settle()
        return str(why)

    async def settle(self) -> None:
        """Until nothing moves but the clock."""
        calm = 0
        while calm < CALM_TURNS and not self.life.is_dead:
            if self.store.busy:
                calm = 0
                await asyncio.sleep(0.0002)
                continue
            await asyncio.sleep(0)
            calm += 1
            if calm == CALM_TURNS and self.ships and await self._ship():
                calm = 0

    async def advance(self, by_s: float, grain_s: float = 0.0) -> None:
        await self.clock.advance(by_s, self.settle, grain_s)

    async def _ship(self) -> bool:
        """Control's shipper: lines to the channel, ended instances drained and cleaned."""
        waiting = (
            self.db.read_now(outbox.waiting) if self.blocks else await self.db.read(outbox.waiting)
        )
        for posted in waiting:
            if posted.id > self._kept:  # As logplex does: each id once.
                self.said.append(f"{posted.line.ps}: {posted.line.text}")
                self._kept = posted.id
            if posted.line.drain:
                await self.or_death(self.conductor.drained(posted.line.drain))
            if self.life.is_dead:
                break
        if waiting:
            self.db.write_now(lambda conn: outbox.delivered(conn, self._kept))
        return bool(waiting)

    # --- what a test sees

    def states(self) -> dict[str, str]:
        return {str(each.name): each.state for each in self.conductor.dynos(self.app)}

    def reason(self, name: str) -> str:
        return {str(each.name): each.reason for each in self.conductor.dynos(self.app)}[name]

    def lines(self, name: str = "") -> list[str]:
        """What was said since the last time, of one name or of all."""
        chosen = [line for line in self.said[self._heard :] if line.startswith(name)]
        self._heard = len(self.said)
        return [line.partition(": ")[2] if name else line for line in chosen]

    def record(self) -> dict[str, list[str]]:
        """The states of each instance, oldest first; without the summaries of crash loops."""
        states: dict[str, list[str]] = {}
        for instance, state, cause in self.entries():
            if cause.kind != "crash_loop":
                states.setdefault(instance, []).append(state)
        return states

    def entries(self) -> list[tuple[str, str, Cause]]:
        """Instance, state and cause of each entry, oldest first."""
        rows = self.db.read_now(
            lambda conn: conn.execute(select(dyno_events).order_by(dyno_events.c.id)).all()
        )
        return [(row.instance, row.state, Cause.from_kept(row.detail["cause"])) for row in rows]

    def _attached_ones(self) -> set[str]:
        rows = self.db.read_now(lambda conn: conn.execute(select(dyno_events)).all())
        return {row.instance for row in rows if row.detail.get("attached")}

    def folded(self) -> dict[str, int]:
        """How many crashes no single entry stands for, by the status they ended with."""
        rows = self.db.read_now(lambda conn: conn.execute(select(crash_loops.c.statuses)).all())
        counts = Counter[str]()
        for each in (row.statuses for row in rows):
            counts.update(each)
        for _, _, cause in self.entries():
            if cause.kind == "crash_loop":
                counts.update(cause.statuses or {})
        return dict(counts)

    def check(self, *, whole: bool = True) -> None:
        """What must always be so; `whole` when everything has settled and was shipped."""
        assert self.host.most <= 2, "more than old plus new of one name"
        assert self.host.most_others <= 1, "another type than web overlaps"
        last_of_loops = {i for i, _, cause in self.entries() if cause.kind == "crash_loop"}
        for instance, states in self.record().items():
            before = "crashed" if instance in last_of_loops and states[0] == "down" else "new"
            for after in states:
                assert after in PATHS[before] or after == before, f"{instance}: {states}"
                before = after
        for instance, state, cause in self.entries():
            # Whatever ended says why, and of what it is known, how.
            assert cause.words or state not in ENDED, f"{instance} is {state}: {cause}"
        if not whole:
            return
        ends = [line for line in self.said if "Process exited" in line or "Error R99" in line]
        # Of an attached one whose client never came nothing ran: it has an end, and no exit.
        unrun = len(
            self._attached_ones() - {i for i, _, c in self.entries() if c.kind == "attached"}
        )
        ended = [states for states in self.record().values() if states[-1] in ENDED]
        ended = [states for states in ended if states != ["down"]]  # Told by its loop's summary.
        folded = sum(self.folded().values())
        assert len(ends) + unrun == len(ended) + folded, "each instance's end is told once"
        assert all(each.exit is None for each in self.host.host.values()), "not cleaned away"
        assert len(self.host.ready()) <= self.host.spares_max


PATHS: dict[str, set[str]] = {}
for _before, _after, _ in ARROWS:
    PATHS.setdefault(_before, set()).add(_after)
    PATHS.setdefault(_after, set())
"""The paths that `machine.TABLE` allows; a test holds the two equal. An entry may also give the
same state a new cause.
"""


def wish(release: int = 1, app_id: str = "app-1", **quantities: int) -> Wish:
    """A wish for the app of the seed."""
    whole = {"web": 0, "worker": 0, **quantities}
    return Wish(
        app_id=app_id,
        app="sushi",
        channel=f"channel-of-{app_id}",
        uid=200_001,
        release=release,
        slug=Path("/slug"),
        env={"SECRET": "s3cret"},
        processes={type_: Process(f"run {type_}", count) for type_, count in whole.items()},
    )


def without_code() -> Wish:
    return replace(wish(), slug=None)


@contextmanager
def opened(path: Path, template: Path | None = None) -> Iterator[Database]:
    """A migrated database at `path`; a copy of `template`, which is quicker."""
    if template:
        shutil.copy(template, path)
    db = Database.open(f"sqlite:///{path}", SystemClock())
    try:
        yield db
    finally:
        db.close()


Story = Callable[[Stage], Awaitable[None]]


def play(path: Path, story: Story, template: Path | None = None) -> Stage:
    """Tell a story on a stage of its own, then check what must always be so."""

    async def tell(stage: Stage) -> None:
        await stage.begin()
        async with asyncio.timeout(60):
            await story(stage)
            await stage.settle()
        stage.check()
        await stage.kill()

    with opened(path, template) as db:
        stage = Stage(db)
        asyncio.run(tell(stage))
        return stage
