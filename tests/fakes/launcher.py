"""A launcher without processes: its dynos follow a script of a few shell words, or do what a test
says. It outlives a conductor, as dynos outlive control. Passes the launchers' contract test.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from oriel.faults import Unavailable
from oriel.manifold import command, sizes
from oriel.manifold.dyno import Check
from oriel.manifold.launcher import (
    Found,
    Launched,
    LaunchSpec,
    Listening,
    OnExit,
    OnMemory,
    Terminal,
    Usage,
    Visit,
    Window,
)
from oriel.sandbox import Exit

Ask = Callable[[str], Awaitable[None]]


async def nobody(_: str) -> None:
    return


@dataclass
class FakeDyno:
    """One instance on the fake host."""

    spec: LaunchSpec
    at: Launched
    exit: Exit | None = None
    listens: bool = False
    """Whether its port accepts."""
    busy: bool = False
    deaf: bool = False
    """Whether it ignores SIGTERM."""
    terms: int = 0
    kills: int = 0
    output: list[str] = field(default_factory=list)
    memory_bytes: int = 1 << 20
    elsewhere: tuple[Listening, ...] = ()
    """Where it listens besides its port."""
    waits: bool = False
    """Whether it is prepared, and not begun."""
    was_ready: bool = False


class FakeTerminal:
    """Streams that a test speaks through: `said` waits to be read, `heard` was written."""

    def __init__(self, window: Window | None) -> None:
        self.window = window
        self.heard = b""
        self.at_end = False
        self.closed = False
        self.reads = asyncio.Event()
        """Whether its process takes what is written."""
        self.reads.set()
        self._said: asyncio.Queue[tuple[str, bytes] | None] = asyncio.Queue()

    def say(self, data: bytes, kind: str = "out") -> None:
        self._said.put_nowait((kind, data))

    def hang(self) -> None:
        """Its process has gone: there is an end to what is read."""
        self._said.put_nowait(None)

    async def read(self) -> tuple[str, bytes] | None:
        return await self._said.get()

    async def write(self, data: bytes) -> None:
        await self.reads.wait()
        self.heard += data

    async def end_input(self) -> None:
        self.at_end = True

    def resize(self, window: Window) -> None:
        self.window = window

    def close(self) -> None:
        self.closed = True


class FakeVisit:
    """A process inside a fake dyno, that ends when a test says so."""

    def __init__(self, terminal: FakeTerminal) -> None:
        self.terminal = terminal
        self.over: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()

    async def wait(self) -> Exit:
        return await asyncio.shield(self.over)

    async def send(self, what: signal.Signals) -> None:
        return

    def close(self) -> None:
        self.terminal.close()


class FakeLauncher:
    """A host in memory."""

    def __init__(self, hold: Ask = nobody, release: Ask = nobody) -> None:
        """`hold` and `release` as the local launcher has them."""
        self.host: dict[str, FakeDyno] = {}
        self.story: list[tuple[str, str]] = []
        """What was done to whom."""
        self.obeys = True
        """Whether SIGTERM ends what is started from now on, at once."""
        self.serves = True
        """Whether web dynos that are started from now on listen, at once."""
        self.boots_max = 1000
        self.spares_max = 0
        self.toils = False
        """Whether what is started from now on is busy until a test says that it is not."""
        self.refuses = ""
        """Why nothing can be started, if so."""
        self.most = 0
        """The most instances of one name that were ever alive at once."""
        self.most_others = 0
        """The same of other types than web."""
        self.terminals: dict[str, FakeTerminal] = {}
        """Of those that are attached."""
        self._hold, self._release = hold, release
        self._ports = itertools.count(20_000)
        self._watched: set[str] = set()
        self._on_exit: OnExit = lambda instance, exit_: None
        self._on_memory: OnMemory = lambda instance, usage: None

    def listen(self, on_exit: OnExit, on_memory: OnMemory) -> None:
        self._on_exit = on_exit
        self._on_memory = on_memory

    def place(self, spec: LaunchSpec) -> Launched:
        return Launched(
            "127.0.0.1", next(self._ports) if spec.type == "web" and not spec.once else None
        )

    async def start(self, spec: LaunchSpec, at: Launched) -> None:
        self.story.append(("start", spec.instance))
        await self._hold(spec.instance)
        if self.refuses:
            self.host[spec.instance] = FakeDyno(spec, at, exit=Exit(None, lost=True))
            raise Unavailable(self.refuses)
        self.host[spec.instance] = FakeDyno(spec, at)
        self._run(self.host[spec.instance])

    async def prepare(self, spec: LaunchSpec, at: Launched) -> bool:
        self.story.append(("prepare", spec.instance))
        if {"LD_PRELOAD", "BASH_ENV"} & set(spec.env):
            return False
        await self._hold(spec.instance)
        if self.refuses:
            self.host[spec.instance] = FakeDyno(spec, at, exit=Exit(None, lost=True))
            raise Unavailable(self.refuses)
        self.host[spec.instance] = FakeDyno(spec, at, waits=True)
        self._watched.add(spec.instance)
        return True

    def begin(self, instance: str) -> bool:
        self.story.append(("begin", instance))
        dyno = self.host.get(instance)
        if dyno is None or not dyno.waits or dyno.exit is not None:
            return False
        dyno.waits, dyno.was_ready = False, True
        self._run(dyno)
        return True

    def _run(self, dyno: FakeDyno) -> None:
        spec = dyno.spec
        dyno.listens = self.serves and dyno.at.port is not None
        dyno.busy, dyno.deaf = self.toils, not self.obeys
        alive = [each for each in self.running(spec.app_id) if each.spec.name == spec.name]
        self.most = max(self.most, len(alive))
        if spec.type != "web":
            self.most_others = max(self.most_others, len(alive))
        self._watched.add(spec.instance)
        asyncio.get_running_loop().call_soon(self._play, spec.instance)

    async def attach(self, spec: LaunchSpec, at: Launched, window: Window | None) -> Terminal:
        await self.start(spec, at)
        terminal = self.terminals[spec.instance] = FakeTerminal(window)
        if self.host[spec.instance].exit is not None:
            terminal.hang()
        return terminal

    async def enter(self, spec: LaunchSpec, at: Launched, window: Window | None) -> Visit:
        dyno = self.host.get(spec.instance)
        if dyno is None or dyno.exit is not None:
            raise Unavailable(f"{spec.name} does not run.")
        self.story.append(("enter", spec.instance))
        return FakeVisit(FakeTerminal(window))

    async def send(self, instance: str, what: signal.Signals) -> None:
        self.story.append((what.name, instance))
        dyno = self.host.get(instance)
        if dyno and dyno.exit is None and not dyno.deaf:
            self.end(instance, 128 + what)

    async def terminate(self, instance: str) -> None:
        self.story.append(("terminate", instance))
        dyno = self.host.get(instance)
        if dyno and dyno.exit is None:
            dyno.terms += 1
            if not dyno.deaf:
                self.end(instance, 143)

    async def kill(self, instance: str) -> None:
        self.story.append(("kill", instance))
        dyno = self.host.get(instance)
        if dyno and dyno.exit is None:
            dyno.kills += 1
            self.end(instance, 137)

    async def clean(self, instance: str) -> None:
        self.story.append(("clean", instance))
        dyno = self.host.pop(instance, None)
        ended = dyno is None or dyno.waits or dyno.exit is not None
        assert ended, "cleaned away while it runs"
        await self._release(instance)

    async def adopt(self) -> tuple[Found, ...]:
        for instance in [each.spec.instance for each in self.host.values() if each.waits]:
            del self.host[instance]
        for instance in self.host:
            await self._hold(instance)
        found = tuple(
            Found(each.spec, each.at, each.exit, each.was_ready) for each in self.host.values()
        )
        self._watched = {each.spec.instance for each in found if each.exit is None}
        return found

    async def look(self, instance: str) -> Usage | None:
        dyno = self.host.get(instance)
        if dyno is None or dyno.exit is not None:
            return None
        return Usage(dyno.memory_bytes, swap_bytes=0, cpu_s=0.0, processes=1)

    async def is_busy(self, instance: str) -> bool:
        dyno = self.host.get(instance)
        return dyno is not None and dyno.exit is None and dyno.busy

    async def listening(self, instance: str) -> tuple[Listening, ...]:
        dyno = self.host.get(instance)
        if dyno is None or dyno.exit is not None:
            return ()
        own = (Listening(dyno.at.host, dyno.at.port),) if dyno.listens and dyno.at.port else ()
        return (*own, *dyno.elsewhere)

    # --- what a test does and sees

    async def reaches(self, host: str, port: int, check: Check) -> bool:
        """Whether a dyno listens there: what the conductor probes."""
        at = Launched(host, port)
        return any(
            each.at == at and each.listens and each.exit is None for each in self.host.values()
        )

    def running(self, app_id: str | None = None) -> list[FakeDyno]:
        alive = [each for each in self.host.values() if each.exit is None and not each.waits]
        return [each for each in alive if app_id in (None, each.spec.app_id)]

    def ready(self) -> dict[str, str]:
        """Those that wait to be begun: their instances by name."""
        waiting = [each for each in self.host.values() if each.waits and each.exit is None]
        return {str(each.spec.name): each.spec.instance for each in waiting}

    def named(self, name: str) -> FakeDyno:
        """The newest running dyno of that name."""
        return [each for each in self.running() if str(each.spec.name) == name][-1]

    def grow(self, name: str, memory_bytes: int) -> str:
        """The newest running dyno of that name takes so much memory; who watches is told if that
        is over its quota (a test tells again, as a launcher does every MEMORY_TICK_S).
        """
        dyno = self.named(name)
        dyno.memory_bytes = memory_bytes
        self._weigh(dyno.spec.instance)
        return dyno.spec.instance

    def _weigh(self, instance: str) -> None:
        dyno = self.host[instance]
        is_over = dyno.memory_bytes > sizes.of(dyno.spec.size).quota_bytes
        if instance in self._watched and is_over:
            usage = Usage(dyno.memory_bytes, swap_bytes=0, cpu_s=0.0, processes=1)
            asyncio.get_running_loop().call_soon(self._on_memory, instance, usage)

    def end(self, instance: str, code: int | None, *, out_of_memory: bool = False) -> None:
        """Its process ends; who watches is told, soon."""
        dyno = self.host[instance]
        assert dyno.exit is None
        exit_ = Exit(None, lost=True) if code is None else Exit.of(code)
        dyno.exit = replace(exit_, out_of_memory=out_of_memory)
        if instance in self.terminals:
            self.terminals[instance].hang()
        if instance in self._watched:
            asyncio.get_running_loop().call_soon(self._tell, instance, dyno.exit)

    def crash(self, name: str, code: int | None = 1) -> str:
        """The newest running dyno of that name ends; gives its instance."""
        instance = self.named(name).spec.instance
        self.end(instance, code)
        return instance

    def desert(self) -> None:
        """Control was killed: nobody watches any more."""
        self._watched.clear()
        self._on_exit = lambda instance, exit_: None
        self._on_memory = lambda instance, usage: None

    def reboot(self) -> None:
        """The host restarts: nothing runs, and nobody knows how it ended."""
        self.desert()
        for dyno in self.running():
            dyno.exit = Exit(None, lost=True)

    def _tell(self, instance: str, exit_: Exit) -> None:
        if instance in self._watched:
            self._watched.discard(instance)
            self._on_exit(instance, exit_)

    def _play(self, instance: str) -> None:
        """Do what its command says, as far as a fake understands it: `echo`, `exit`, `trap`,
        `hog MEBIBYTES`, `serve PORT`, `toil`.
        """
        dyno = self.host[instance]
        for statement in dyno.spec.command.split(";"):
            word, _, rest = statement.strip().partition(" ")
            if word == "echo":
                env = command.environment(dyno.spec.env, {}, str(dyno.spec.name), dyno.at.port)
                dyno.output.append(command.shown(rest, env) + "\n")
            elif word == "hog":
                dyno.memory_bytes = int(rest) << 20
                self._weigh(instance)
            elif word == "serve":
                dyno.elsewhere = (*dyno.elsewhere, Listening("0.0.0.0", int(rest)))
            elif word == "trap":
                dyno.deaf = True
            elif word == "toil":
                dyno.busy = True
            elif word == "exit" and dyno.exit is None:
                self.end(instance, int(rest))
