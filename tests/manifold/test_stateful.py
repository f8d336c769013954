"""Anything that may happen to an app, in any order: it settles on the latest wish, no name ever
has more than two live instances, each end is told once, each record is a path in the table.
"""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from oriel.faults import NotFound
from oriel.manifold.machine import ENDED
from oriel.manifold.roster import Slot

from .stage import KATE, NED, Stage, opened, wish

QUANTITIES = st.fixed_dictionaries({"web": st.integers(0, 2), "worker": st.integers(0, 2)})


class Life(RuleBasedStateMachine):
    """An app's life under the conductor."""

    template: Path | None = None

    @initialize()
    def begin(self) -> None:
        self.stack = ExitStack()
        root = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        if Life.template is None:
            Life.template = Path(tempfile.mkdtemp()) / "oriel.db"
            with opened(Life.template):
                pass
        self.loop = asyncio.new_event_loop()
        self.stage = Stage(self.stack.enter_context(opened(root / "oriel.db", Life.template)))
        self.release = 1
        self.stopped: set[str] = set()
        self.asleep = False
        self.deploys: list[asyncio.Task[None]] = []
        self.stage.host.spares_max = 2
        self.do(self.stage.begin())

    def do(self, work: object) -> None:
        self.loop.run_until_complete(work)  # type: ignore[arg-type]

    @rule(quantities=QUANTITIES, new=st.booleans(), hurried=st.booleans())
    def wish(self, quantities: dict[str, int], new: bool, hurried: bool) -> None:
        self.release += new
        if not new and self.stage.wished and self.stage.wished.release != self.release:
            # The newest release failed, or is not up yet: what is scaled is the one before.
            self.stage.wished = wish(self.stage.wished.release, **quantities)
        else:
            self.stage.wished = wish(self.release, **quantities)
        if new:
            self.stopped.clear()
        self.stopped &= {
            f"{type_}.{n}" for type_, count in quantities.items() for n in range(1, count + 1)
        }
        self.do(self.stage.conductor.wish(self.stage.wished, by=NED))
        if not hurried:
            self.do(self.stage.settle())

    @rule(pick=st.integers(0, 9), code=st.sampled_from([0, 1, 137, None]))
    def crash(self, pick: int, code: int | None) -> None:
        async def crash() -> None:
            if running := self.stage.host.running():
                self.stage.host.end(running[pick % len(running)].spec.instance, code)

        self.do(crash())

    @rule(obeys=st.booleans(), serves=st.booleans(), refuses=st.sampled_from(["", "", "no room"]))
    def change_of_manners(self, obeys: bool, serves: bool, refuses: str) -> None:
        host = self.stage.host
        host.obeys, host.serves, host.refuses = obeys, serves, refuses

    @rule(only=st.sampled_from(["web", "worker", "web.1"]))
    def restart(self, only: str) -> None:
        if not (chosen := self.chosen(only)):
            return
        try:
            self.do(self.stage.ask(self.stage.conductor.restart(self.stage.app, only, KATE)))
        except NotFound:
            assert not self.chosen(only)  # A deploy took them away before it was their turn.
        else:
            self.stopped -= chosen

    @rule(only=st.sampled_from(["web", "worker.1"]))
    def stop(self, only: str) -> None:
        # A slot whose newest release has not begun has nobody to remember as stopped.
        self.do(self.stage.settle())
        if self.chosen(only) and not self.waits(only):
            self.stopped |= self.chosen(only)
            self.do(self.stage.ask(self.stage.conductor.stop(self.stage.app, only, KATE)))

    @rule(quantities=QUANTITIES, hurried=st.booleans(), crashes=st.booleans())
    def deploy_beside(self, quantities: dict[str, int], hurried: bool, crashes: bool) -> None:
        """A release with preboot; where it is hurried, other things happen meanwhile."""
        if not self.stage.wished or not all(each.done() for each in self.deploys):
            return  # Releases are made one after the other.
        self.release += 1
        number = self.release
        new = wish(number, **quantities)
        if crashes:
            web = replace(new.processes["web"], command="exit 1")
            new = replace(new, processes={**new.processes, "web": web})

        async def deploy() -> None:
            if await self.stage.conductor.preboot(new, by=NED) or self.release != number:
                self.stage.conductor.call_off(self.stage.app, number)
                return
            self.stopped.clear()
            self.asleep = False
            self.stage.wished = new
            await self.stage.conductor.wish(new, by=NED)

        work = self.loop.create_task(deploy())
        self.deploys.append(work)
        if not hurried:
            self.do(self.stage.advance(70))

    @rule()
    def idle(self) -> None:
        self.do(self.stage.settle())
        if not self.stopped:
            self.do(self.stage.ask(self.stage.conductor.idle(self.stage.app)))
            self.asleep = True

    @rule()
    def unidle(self) -> None:
        self.do(self.stage.conductor.unidle(self.stage.app))
        self.asleep = False

    @rule(mebibytes=st.sampled_from([600, 1100]))
    def memory(self, mebibytes: int) -> None:
        async def grow() -> None:
            for each in self.stage.host.running()[:1]:
                self.stage.host.grow(str(each.spec.name), mebibytes << 20)

        self.do(grow())

    @rule(by_s=st.sampled_from([0.0, 0.6, 2.0, 31.0, 400.0]))
    def time_passes(self, by_s: float) -> None:
        self.do(self.stage.advance(by_s))

    @rule(settles=st.booleans())
    def control_is_killed(self, settles: bool) -> None:
        if settles:
            self.do(self.stage.settle())
            self.do(self.stage.restart_control())
        else:
            self.do(self.stage.kill())
            self.stopped.clear()  # What was not recorded was not done.
            self.do(self.stage.begin())
            self.do(self.stage.settle())
            slots = self.slots("web") + self.slots("worker")
            self.stopped = {str(slot.name) for slot in slots if slot.stopped}
            if self.stage.wished:
                self.do(self.stage.conductor.wish(self.stage.wished, by=NED))
                self.do(self.stage.settle())

    @rule()
    def the_host_restarts(self) -> None:
        self.do(self.stage.settle())
        self.do(self.stage.kill())
        self.stage.host.reboot()
        self.do(self.stage.restart_control())

    @rule(refusals=st.integers(1, 3))
    def the_disk_is_full(self, refusals: int) -> None:
        self.stage.store.refuses = refusals

    @invariant()
    def never_more_than_old_plus_new(self) -> None:
        if hasattr(self, "stage"):
            assert self.stage.host.most <= 2

    def slots(self, only: str) -> list[Slot]:
        app = self.stage.conductor._seats.apps.get(self.stage.app)
        slots = app.slots.values() if app else ()
        return [slot for slot in slots if only in (slot.name.type, str(slot.name))]

    def chosen(self, only: str) -> set[str]:
        return {str(slot.name) for slot in self.slots(only) if slot.instance}

    def waits(self, only: str) -> bool:
        return any(slot.waiting for slot in self.slots(only))

    def teardown(self) -> None:
        if not hasattr(self, "stage"):
            return
        try:
            self.do(self.comes_to_rest())
        finally:
            self.do(self.stage.kill())
            self.loop.close()
            self.stack.close()

    async def comes_to_rest(self) -> None:
        stage, host = self.stage, self.stage.host
        host.obeys, host.serves, host.refuses, stage.store.refuses = True, True, "", 0
        await stage.advance(70)
        assert all(each.done() for each in self.deploys), "a deploy comes to its end"
        await stage.conductor.unidle(stage.app)
        for each in host.running():
            each.listens = each.at.port is not None
        await stage.advance(500)
        stage.check()
        quantities = stage.wished.quantities if stage.wished else {}
        wanted = {f"{t}.{n}" for t, count in quantities.items() for n in range(1, count + 1)}
        assert set(stage.states()) == wanted
        up = {name for name, state in stage.states().items() if state == "up"}
        assert up == wanted - self.stopped
        assert sorted(str(each.spec.name) for each in host.running()) == sorted(up)
        assert stage.wished is None or {each.spec.release for each in host.running()} <= {
            stage.wished.release
        }
        alive = [states for states in stage.record().values() if states[-1] not in ENDED]
        assert len(alive) == len(up)


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=40,
    stateful_step_count=20,
    deadline=None,
    # Shrinking takes minutes here; the steps as they came are read as easily.
    phases=(Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)
