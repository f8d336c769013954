"""What every launcher must do, told once and held against each: the fake one that other tests
stand on, and the local one with real processes. A cluster's launcher only has to join them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from oriel.clock import SystemClock, new_id
from oriel.faults import Unavailable
from oriel.manifold import sizes
from oriel.manifold.launcher import Launched, Launcher, LaunchSpec, Listening, Usage, Window
from oriel.manifold.local.launcher import LocalLauncher
from oriel.sandbox import Exit, Sandboxes
from tests.fakes.launcher import FakeLauncher

UID = os.getuid() or 200_001
PATIENCE_S = 20.0


class Bench(Protocol):
    """A launcher, and what a test sees around it."""

    launcher: Launcher
    held: list[str]
    released: list[str]
    slug: Path

    async def desert(self) -> None:
        """Control is killed and starts again: `launcher` is the new one's."""

    def said(self, instance: str) -> str:
        """What an instance has written by now."""

    def left(self) -> list[str]:
        """The instances of which anything is left."""

    def hog(self, mebibytes: int) -> str:
        """A command that takes so much memory, says `taken`, and keeps it."""

    def toil(self) -> str:
        """A command that says `at it`, and computes for ever."""

    def server(self, port: int) -> str:
        """A command that listens on all addresses at that port, says `listening`, and goes on."""


class FakeBench:
    """The fake launcher's host."""

    def __init__(self, root: Path) -> None:
        self.held: list[str] = []
        self.released: list[str] = []
        self.slug = root
        self.fake = FakeLauncher(noting(self.held), noting(self.released))
        self.launcher: Launcher = self.fake

    async def close(self) -> None:
        return

    async def desert(self) -> None:
        self.fake.desert()

    def said(self, instance: str) -> str:
        return "".join(self.fake.host[instance].output)

    def left(self) -> list[str]:
        return list(self.fake.host)

    def hog(self, mebibytes: int) -> str:
        return f"hog {mebibytes}; echo taken"

    def toil(self) -> str:
        return "toil; echo at it"

    def server(self, port: int) -> str:
        return f"serve {port}; echo listening"


class LocalBench:
    """Real sandboxes, over a slug of one file."""

    def __init__(self, root: Path, sandboxes: Sandboxes) -> None:
        self.held: list[str] = []
        self.released: list[str] = []
        self.data = root / "data"
        self.slug = self.data / "slugs" / "app" / "digest"
        self.slug.mkdir(parents=True)
        (self.slug / "hello").write_text("hello\n")
        for place in (self.slug, self.slug / "hello"):
            os.chown(place, UID, UID)
        self._sandboxes = sandboxes
        self._fifos: dict[str, int] = {}
        self._said: dict[str, bytes] = {}
        self.launcher: Launcher = self._new(sandboxes)

    def _new(self, sandboxes: Sandboxes) -> LocalLauncher:
        """As logplex and `oriel up` do, a test holds each FIFO too."""

        async def hold(instance: str) -> None:
            self.held.append(instance)
            if instance not in self._fifos:
                path = self.data / "dynos" / instance / "out"
                self._fifos[instance] = os.open(path, os.O_RDWR | os.O_NONBLOCK)

        return LocalLauncher(self.data, sandboxes, hold, noting(self.released), SystemClock())

    async def desert(self) -> None:
        await self._sandboxes.close()
        self._sandboxes = Sandboxes(self.data)
        await self._sandboxes.start()
        self.launcher = self._new(self._sandboxes)

    async def close(self) -> None:
        for instance in self.left():
            await self.launcher.kill(instance)
            await self.launcher.clean(instance)
        for descriptor in self._fifos.values():
            os.close(descriptor)
        await self._sandboxes.close()

    def said(self, instance: str) -> str:
        try:
            while chunk := os.read(self._fifos[instance], 65536):
                self._said[instance] = self._said.get(instance, b"") + chunk
        except BlockingIOError:
            pass
        return self._said.get(instance, b"").decode(errors="replace")

    def left(self) -> list[str]:
        return sorted(each.name for each in (self.data / "dynos").glob("*"))

    def hog(self, mebibytes: int) -> str:
        script = (
            f"kept = bytearray({mebibytes} << 20); "
            "print('taken', flush=True); import time; time.sleep(1000)"
        )
        return f'python3 -c "{script}"'

    def toil(self) -> str:
        # In a second process and a second thread: whichever it is that works, it counts.
        script = (
            "import threading, time; print('at it', flush=True); "
            "threading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start(); time.sleep(1000)"
        )
        return f'(python3 -c "{script}"); true'

    def server(self, port: int) -> str:
        script = (
            "import socket, time; s = socket.socket(); "
            f"s.bind(('0.0.0.0', {port})); s.listen(); "
            "print('listening', flush=True); time.sleep(1000)"
        )
        return f'python3 -c "{script}"'


def noting(where: list[str]) -> Callable[[str], Awaitable[None]]:
    async def note(instance: str) -> None:
        where.append(instance)

    return note


@asynccontextmanager
async def opened(kind: str, root: Path) -> AsyncIterator[FakeBench | LocalBench]:
    if kind == "fake":
        yield FakeBench(root)
        return
    (root / "data").mkdir(mode=0o700)
    sandboxes = Sandboxes(root / "data")
    await sandboxes.start()
    if not sandboxes.capabilities.user_namespaces:
        pytest.skip("; ".join(sandboxes.capabilities.why))
    bench = LocalBench(root, sandboxes)
    try:
        yield bench
    finally:
        await bench.close()


class Hand:
    """Starts instances on a bench and hears of their ends."""

    def __init__(self, bench: FakeBench | LocalBench) -> None:
        self.bench = bench
        self.ends: list[tuple[str, Exit]] = []
        self.over: list[tuple[str, Usage]] = []
        bench.launcher.listen(
            lambda instance, exit_: self.ends.append((instance, exit_)),
            lambda instance, usage: self.over.append((instance, usage)),
        )

    def spec(self, command: str, type: str = "worker") -> LaunchSpec:
        return LaunchSpec(
            instance=new_id().replace("-", ""),
            app_id="app",
            app="sushi",
            channel="c",
            type=type,
            number=1,
            release=1,
            uid=UID,
            command=command,
            size="standard-1x",
            slug=self.bench.slug,
            env={"SECRET": "s3cret"},
        )

    async def start(self, command: str, type: str = "worker") -> LaunchSpec:
        spec = self.spec(command, type)
        await self.bench.launcher.start(spec, self.bench.launcher.place(spec))
        return spec

    async def until(self, holds: Callable[[], object], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not holds():
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(f"not in time: {what}; ends: {self.ends}") from None

    async def end_of(self, spec: LaunchSpec) -> Exit:
        def told() -> list[Exit]:
            return [exit_ for instance, exit_ in self.ends if instance == spec.instance]

        await self.until(told, f"the end of {spec.command}")
        await asyncio.sleep(0.02)
        assert len(told()) == 1, "an end is told once"
        return told()[0]

    async def says(self, spec: LaunchSpec, text: str) -> None:
        await self.until(lambda: text in self.bench.said(spec.instance), f"{text!r} is said")


Story = Callable[[Hand], Awaitable[None]]


@pytest.fixture(params=["fake", pytest.param("local", marks=pytest.mark.real)])
def tell(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Story], None]:
    def run(story: Story) -> None:
        async def whole() -> None:
            async with opened(request.param, tmp_path) as bench:
                await story(Hand(bench))

        asyncio.run(whole())

    return run


Tell = Callable[[Story], None]


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_output_and_exit_code_are_told_once(tell: Tell, code: int) -> None:
    async def story(hand: Hand) -> None:
        spec = await hand.start(f"echo hello; exit {code}")
        assert await hand.end_of(spec) == Exit.of(code)
        assert hand.bench.said(spec.instance) == "hello\n"
        assert hand.bench.held == [spec.instance]

    tell(story)


def test_a_web_dyno_gets_a_port_of_its_own_and_is_told_it(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        launcher = hand.bench.launcher
        spec = await hand.start("echo $PORT; exit 0", "web")
        await hand.end_of(spec)
        port = int(hand.bench.said(spec.instance))
        places = [launcher.place(await hand.start("exit 0", "web")) for _ in range(3)]
        assert all(isinstance(place, Launched) and place.port for place in places)
        assert port not in {place.port for place in places}, "until it is cleaned away"
        assert launcher.place(await hand.start("exit 0")).port is None

    tell(story)


def test_one_that_works_is_told_from_one_that_sleeps(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        launcher = hand.bench.launcher
        sleeps = await hand.start("echo up; sleep 1000")
        await hand.says(sleeps, "up")
        works = await hand.start(hand.bench.toil())
        await hand.says(works, "at it")
        await asyncio.sleep(0.1)
        # A look is a moment's: what sleeps may just have been woken.
        assert not all([await launcher.is_busy(sleeps.instance) for _ in range(5)])
        assert all([await launcher.is_busy(works.instance) for _ in range(5)])
        await launcher.kill(works.instance)
        await hand.end_of(works)
        assert not await launcher.is_busy(works.instance)
        assert not await launcher.is_busy("unknown")

    tell(story)


def test_terminate_ends_one_that_obeys(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        spec = await hand.start("echo up; sleep 1000")
        await hand.says(spec, "up")
        await hand.bench.launcher.terminate(spec.instance)
        assert await hand.end_of(spec) == Exit.of(143)

    tell(story)


def test_kill_ends_one_that_is_deaf_to_terminate(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        spec = await hand.start("trap '' TERM; echo up; sleep 1000; sleep 1000; sleep 1000")
        await hand.says(spec, "up")
        await hand.bench.launcher.terminate(spec.instance)
        await asyncio.sleep(0.1)
        assert hand.ends == []
        await hand.bench.launcher.kill(spec.instance)
        assert await hand.end_of(spec) == Exit.of(137)

    tell(story)


def test_what_is_asked_of_the_ended_and_the_unknown_is_no_error(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        launcher = hand.bench.launcher
        spec = await hand.start("exit 0")
        await hand.end_of(spec)
        for instance in (spec.instance, "0123456789abcdef"):
            await launcher.terminate(instance)
            await launcher.kill(instance)
        for instance in (spec.instance, spec.instance, "0123456789abcdef"):
            await launcher.clean(instance)
        assert len(hand.ends) == 1

    tell(story)


def test_what_is_asked_about_the_ended_and_the_unknown_has_an_answer(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        launcher = hand.bench.launcher
        spec = await hand.start("exit 0")
        await hand.end_of(spec)
        for instance in (spec.instance, "0123456789abcdef"):
            assert await launcher.look(instance) is None
            assert await launcher.listening(instance) == ()

    tell(story)


def test_what_one_that_runs_takes_is_seen(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        spec = await hand.start("echo up; sleep 1000")
        await hand.says(spec, "up")
        usage = await hand.bench.launcher.look(spec.instance)
        assert usage is not None
        assert usage.memory_bytes >= usage.swap_bytes >= 0
        assert usage.cpu_s >= 0
        assert usage.processes >= 1

    tell(story)


def test_clean_leaves_nothing_and_lets_go(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        spec = await hand.start("echo hello; exit 0")
        other = await hand.start("sleep 1000")
        await hand.end_of(spec)
        await hand.bench.launcher.clean(spec.instance)
        assert hand.bench.left() == [other.instance]
        assert hand.bench.released == [spec.instance]
        await hand.bench.launcher.kill(other.instance)
        await hand.end_of(other)

    tell(story)


def test_adopt_finds_those_that_run_and_how_the_others_ended(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        runs = await hand.start("echo up; sleep 1000", "web")
        ended = await hand.start("exit 7")
        cleaned = await hand.start("exit 0")
        await hand.says(runs, "up")
        for spec in (ended, cleaned):
            await hand.end_of(spec)
        await hand.bench.launcher.clean(cleaned.instance)
        await hand.bench.desert()
        hand = Hand(hand.bench)
        hand.bench.held.clear()
        found = {each.spec.instance: each for each in await hand.bench.launcher.adopt()}
        assert found.keys() == {runs.instance, ended.instance}
        assert found[runs.instance].exit is None
        assert found[ended.instance].exit == Exit(7)
        assert found[runs.instance].launched.port is not None
        assert found[runs.instance].spec.identity() == runs.identity()
        assert sorted(hand.bench.held) == sorted(found)
        assert hand.ends == [], "no end is told before adopt has come back"
        await hand.bench.launcher.terminate(runs.instance)
        assert await hand.end_of(runs) == Exit.of(143)
        for instance in found:
            await hand.bench.launcher.clean(instance)
        assert hand.bench.left() == []

    tell(story)


def test_one_that_ends_while_nobody_watches(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        spec = await hand.start("echo up; sleep 1000")
        await hand.says(spec, "up")
        await hand.bench.desert()
        await hand.bench.launcher.adopt()
        await hand.bench.launcher.kill(spec.instance)  # By the first of two that follow.
        await hand.bench.desert()
        hand = Hand(hand.bench)

        async def ended() -> bool:
            return (await hand.bench.launcher.adopt())[0].exit is not None

        if not await ended():
            await hand.end_of(spec)
        assert len(hand.ends) <= 1

    tell(story)


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_what_an_instance_takes(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        launcher = hand.bench.launcher
        spec = await hand.start(hand.bench.hog(100))
        await hand.says(spec, "taken")
        usage = await launcher.look(spec.instance)
        assert usage is not None
        assert 100 << 20 <= usage.memory_bytes < 300 << 20
        assert usage.processes >= 1
        assert usage.cpu_s >= 0
        assert usage.swap_bytes >= 0
        await launcher.kill(spec.instance)
        await hand.end_of(spec)
        assert await launcher.look(spec.instance) is None
        assert await launcher.look("0123456789abcdef") is None
        assert hand.over == [], "it is within its quota"

    tell(story)


def test_one_whose_streams_are_a_clients(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        spec = replace(hand.spec("exit 3", type="run"), once=True, attached=True)
        launcher = hand.bench.launcher
        terminal = await launcher.attach(spec, launcher.place(spec), Window(100, 30))
        assert await hand.end_of(spec) == Exit(3)
        assert await terminal.read() is None
        assert hand.bench.said(spec.instance) == ""
        terminal.close()
        await launcher.clean(spec.instance)

    tell(story)


def test_one_over_its_quota_is_told_of(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        quota = sizes.of("standard-1x").quota_bytes
        spec = await hand.start(hand.bench.hog((quota >> 20) + 40))
        await hand.until(lambda: hand.over, "that it is over its quota")
        instance, usage = hand.over[0]
        assert instance == spec.instance
        assert usage.memory_bytes > quota
        await hand.bench.launcher.kill(spec.instance)
        await hand.end_of(spec)

    tell(story)


def test_a_signal_to_all_of_it(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        spec = await hand.start("echo up; sleep 1000")
        await hand.says(spec, "up")
        await hand.bench.launcher.send(spec.instance, signal.SIGHUP)
        assert await hand.end_of(spec) == Exit.of(129)
        await hand.bench.launcher.send(spec.instance, signal.SIGHUP)
        await hand.bench.launcher.send("nobody", signal.SIGHUP)

    tell(story)


def test_where_an_instance_listens(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        launcher = hand.bench.launcher
        port = free_port()
        spec = await hand.start(hand.bench.server(port))
        await hand.says(spec, "listening")
        assert Listening("0.0.0.0", port) in await launcher.listening(spec.instance)
        await launcher.kill(spec.instance)
        await hand.end_of(spec)
        assert await launcher.listening(spec.instance) == ()
        assert await launcher.listening("0123456789abcdef") == ()

    tell(story)


def test_what_does_not_run_is_not_entered(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        spec = await hand.start("exit 0")
        await hand.end_of(spec)
        launcher = hand.bench.launcher
        with pytest.raises(Unavailable):
            await launcher.enter(spec, Launched("", None), None)
        with pytest.raises(Unavailable):
            await launcher.enter(replace(spec, instance="nobody"), Launched("", None), None)

    tell(story)


async def prepared(hand: Hand, command: str, type: str = "worker") -> LaunchSpec:
    spec = hand.spec(command, type)
    assert await hand.bench.launcher.prepare(spec, hand.bench.launcher.place(spec))
    return spec


def test_one_that_is_prepared_runs_when_it_is_begun_and_not_before(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        launcher = hand.bench.launcher
        spec = await prepared(hand, "echo $PORT; exit 3", "web")
        assert hand.bench.held == [spec.instance]
        marker = await hand.start("echo later; exit 0")
        await hand.end_of(marker)
        assert hand.bench.said(spec.instance) == ""
        assert [instance for instance, _ in hand.ends] == [marker.instance]
        assert launcher.begin(spec.instance)
        assert await hand.end_of(spec) == Exit.of(3)
        assert int(hand.bench.said(spec.instance)) > 0
        assert not launcher.begin(spec.instance), "once"
        assert not launcher.begin(marker.instance)
        assert not launcher.begin("0123456789abcdef")

    tell(story)


def test_one_that_was_begun_is_as_one_that_was_started(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        launcher = hand.bench.launcher
        spec = await prepared(hand, "echo up; sleep 1000")
        assert launcher.begin(spec.instance)
        await hand.says(spec, "up")
        usage = await launcher.look(spec.instance)
        assert usage is not None
        assert usage.processes >= 1
        await launcher.terminate(spec.instance)
        assert await hand.end_of(spec) == Exit.of(143)
        await launcher.clean(spec.instance)
        assert hand.bench.left() == []
        assert hand.bench.released == [spec.instance]

    tell(story)


def test_what_is_prepared_and_not_wanted_leaves_nothing(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        spec = await prepared(hand, "echo never; exit 0")
        await hand.bench.launcher.clean(spec.instance)
        assert hand.bench.left() == []
        assert hand.bench.released == [spec.instance]
        assert not hand.bench.launcher.begin(spec.instance)

    tell(story)


def test_the_end_of_one_that_was_never_begun_is_told(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        spec = await prepared(hand, "echo never; exit 0")
        await hand.bench.launcher.kill(spec.instance)
        await hand.end_of(spec)
        assert not hand.bench.launcher.begin(spec.instance)
        assert hand.bench.said(spec.instance) == ""

    tell(story)


def test_of_what_was_prepared_a_kill_of_control_leaves_what_was_begun(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        waits = await prepared(hand, "echo never; exit 0")
        runs = await prepared(hand, "echo up; sleep 1000")
        started = await hand.start("echo up; sleep 1000")
        assert hand.bench.launcher.begin(runs.instance)
        for spec in (runs, started):
            await hand.says(spec, "up")
        await hand.bench.desert()
        hand = Hand(hand.bench)
        found = {each.spec.instance: each for each in await hand.bench.launcher.adopt()}
        assert {it: (each.exit, each.was_ready) for it, each in found.items()} == {
            runs.instance: (None, True),
            started.instance: (None, False),
        }
        await hand.until(
            lambda: sorted(hand.bench.left()) == sorted(found), "what waited is cleared away"
        )
        assert not hand.bench.launcher.begin(waits.instance)
        for spec in (runs, started):
            await hand.bench.launcher.terminate(spec.instance)
            assert await hand.end_of(spec) == Exit.of(143)

    tell(story)


@pytest.mark.parametrize("name", ["LD_PRELOAD", "BASH_ENV"])
def test_where_a_variable_would_run_what_is_the_apps_nothing_is_prepared(
    tell: Tell, name: str
) -> None:
    async def story(hand: Hand) -> None:
        launcher = hand.bench.launcher
        spec = replace(hand.spec("exit 0"), env={name: "/app/mine"})
        assert not await launcher.prepare(spec, launcher.place(spec))
        await launcher.clean(spec.instance)
        assert hand.bench.left() == []

    tell(story)
