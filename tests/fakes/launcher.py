"""A launcher without processes: its dynos follow a script of a few shell words, or do what a test
says. It outlives a conductor, as dynos outlive control. Passes the launchers' contract test.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from oriel.faults import Unavailable
from oriel.manifold import command
from oriel.manifold.launcher import Found, Launched, LaunchSpec, OnExit, Terminal, Visit, Window
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
    deaf: bool = False
    """Whether it ignores SIGTERM."""
    terms: int = 0
    kills: int = 0
    output: list[str] = field(default_factory=list)


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
        self.refuses = ""
        """Why nothing can be started, if so."""
        self.most = 0
        """The most instances of one name that were ever alive at once."""
        self.terminals: dict[str, FakeTerminal] = {}
        """Of those that are attached."""
        self._hold, self._release = hold, release
        self._ports = itertools.count(20_000)
        self._watched: set[str] = set()
        self._on_exit: OnExit = lambda instance, exit_: None

    def listen(self, on_exit: OnExit) -> None:
        self._on_exit = on_exit

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
        listens = self.serves and at.port is not None
        self.host[spec.instance] = FakeDyno(spec, at, listens=listens, deaf=not self.obeys)
        alive = [each for each in self.running(spec.app_id) if each.spec.name == spec.name]
        self.most = max(self.most, len(alive))
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
        assert dyno is None or dyno.exit is not None, "cleaned away while it runs"
        await self._release(instance)

    async def adopt(self) -> tuple[Found, ...]:
        for instance in self.host:
            await self._hold(instance)
        found = tuple(Found(each.spec, each.at, each.exit) for each in self.host.values())
        self._watched = {each.spec.instance for each in found if each.exit is None}
        return found

    # --- what a test does and sees

    async def reaches(self, host: str, port: int) -> bool:
        """Whether a dyno listens there: what the conductor probes."""
        at = Launched(host, port)
        return any(
            each.at == at and each.listens and each.exit is None for each in self.host.values()
        )

    def running(self, app_id: str | None = None) -> list[FakeDyno]:
        alive = [each for each in self.host.values() if each.exit is None]
        return [each for each in alive if app_id in (None, each.spec.app_id)]

    def named(self, name: str) -> FakeDyno:
        """The newest running dyno of that name."""
        return [each for each in self.running() if str(each.spec.name) == name][-1]

    def end(self, instance: str, code: int | None) -> None:
        """Its process ends; who watches is told, soon."""
        dyno = self.host[instance]
        assert dyno.exit is None
        dyno.exit = Exit(None, lost=True) if code is None else Exit.of(code)
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
        """Do what its command says, as far as a fake understands it: `echo`, `exit`, `trap`."""
        dyno = self.host[instance]
        for statement in dyno.spec.command.split(";"):
            word, _, rest = statement.strip().partition(" ")
            if word == "echo":
                env = command.environment(dyno.spec.env, {}, str(dyno.spec.name), dyno.at.port)
                dyno.output.append(command.shown(rest, env) + "\n")
            elif word == "trap":
                dyno.deaf = True
            elif word == "exit" and dyno.exit is None:
                self.end(instance, int(rest))
