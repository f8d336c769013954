"""Owns what runs beside the formation: release commands, `oriel run`, and what enters a dyno.

Must not know why something is run, who is attached to it, or what a client speaks.
"""

from __future__ import annotations

from dataclasses import replace

from oriel.faults import NotFound, Unavailable
from oriel.manifold.cause import Cause
from oriel.manifold.dyno import Once, Wish
from oriel.manifold.events import Notes
from oriel.manifold.launcher import Launcher, Visit, Window
from oriel.manifold.machine import Life
from oriel.manifold.oneoff import OneOff
from oriel.manifold.seats import Seats
from oriel.manifold.specs import spec_of
from oriel.sandbox.confinement import Exit


class OneOffs:
    """The one-off dynos of all apps."""

    def __init__(self, seats: Seats, launcher: Launcher) -> None:
        """Those that `seats` knows."""
        self._seats = seats
        self._launcher = launcher

    def begin(self, wish: Wish, once: Once) -> OneOff:
        """Begin one; an attached one then waits for its client. NotFound where there is no code,
        or no app any more.
        """
        if wish.app_id in self._seats.forgotten:
            raise NotFound(f"{wish.app} is gone.", resource="app", app=wish.app)
        until_s = once.until.timestamp() if once.until else None
        spec = replace(
            spec_of(wish, once.name, once.command, once.size, once=True),
            env={**wish.env, **once.env},
            attached=once.attached,
            until_s=until_s,
        )
        life = Life(once=True, attached=once.attached, named=until_s is not None)
        instance = self._seats.make_once(spec, life, Notes())
        self._seats.app(wish.app_id).once.add(instance)
        instance.begin(Cause("asked", by=once.by))
        self._seats.notify(wish.app_id)
        return instance

    async def run(self, wish: Wish, once: Once, *, timeout_s: float) -> Exit:
        """Run one to its end. Unavailable when it could not be started, took too long or was
        stopped: whatever its status then is, it did not do its work.
        """
        instance = self.begin(wish, once)
        if not await instance.ends_within(timeout_s):
            instance.stop("down", Cause("too_long", timeout_s=timeout_s))
            await instance.ended.wait()
        if instance.exit is None:
            raise Unavailable(f"{once.name} {instance.life.reason}.", app=wish.app)
        if instance.life.fate is not None:
            raise Unavailable(f"{once.name} was ended: {instance.life.reason}.", app=wish.app)
        return instance.exit

    def count(self, app_id: str | None = None) -> int:
        """How many one-off dynos users have, of an app or (None) at all."""
        apps = self._seats.apps
        chosen = apps.values() if app_id is None else [self._seats.app(app_id)]
        return sum(1 for app in chosen for each in app.once if each.spec.until_s is not None)

    async def enter(self, instance: str, wish: Wish, once: Once, window: Window | None) -> Visit:
        """Run a command inside an instance, as one of its own; Unavailable when it cannot be."""
        known = self._seats.instances.get(instance)
        if known is None or known.has_ended:
            raise Unavailable("The dyno has ended.", hint=f"oriel ps -a {wish.app}")
        spec = replace(known.spec, command=once.command, slug=wish.slug or known.spec.slug)
        spec = replace(spec, env={**wish.env, **once.env})
        return await self._launcher.enter(spec, known.at, window)
