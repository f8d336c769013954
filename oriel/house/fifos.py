"""Owns holding every dyno's FIFO open. Must not read from them, nor know what a dyno is.

The bytes in a FIFO vanish with its last descriptor, so logplex, control and `oriel up` each hold
it: a kill of any of them loses nothing.
"""

from __future__ import annotations

import os
import re
import stat

from oriel import faults
from oriel.house.layout import Layout

_INSTANCE = re.compile(r"[0-9a-f][0-9a-f-]{7,63}")


class Fifos:
    """The FIFOs held, by instance."""

    def __init__(self, layout: Layout) -> None:
        """Hold nothing yet."""
        self._layout = layout
        self._held: dict[str, int] = {}

    def __len__(self) -> int:
        """How many are held."""
        return len(self._held)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The descriptors themselves, to be handed on."""
        return tuple(self._held.values())

    def hold_all(self) -> int:
        """Hold the FIFO of every dyno there is; returns how many are held."""
        try:
            names = sorted(os.listdir(self._layout.dynos))
        except FileNotFoundError:
            return 0
        for name in names:
            # A directory without a FIFO is one that is just being made or cleared away.
            try:
                self.hold(name)
            except faults.Fault:
                continue
        return len(self._held)

    def hold(self, instance: str) -> None:
        """Open the FIFO of `instance` and keep it; holding twice is once."""
        if not _INSTANCE.fullmatch(instance):
            raise faults.Invalid(f"{instance[:70]!r} is not the id of a dyno instance.")
        self.sweep()
        if instance in self._held:
            return
        # O_RDWR: neither waits for the other end nor ever sees an end of file.
        try:
            descriptor = os.open(
                self._layout.fifo(instance),
                os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC,
            )
        except OSError as error:
            raise faults.NotFound(
                f"The FIFO of {instance} cannot be opened ({error.strerror}).", resource="dyno"
            ) from error
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise faults.Invalid(f"What {instance} has as its output is no FIFO.")
        self._held[instance] = descriptor

    def release(self, instance: str) -> None:
        """Let go of one; one that is not held is no error."""
        descriptor = self._held.pop(instance, None)
        if descriptor is not None:
            os.close(descriptor)

    def close(self) -> None:
        """Let go of all."""
        for instance in tuple(self._held):
            self.release(instance)

    def sweep(self) -> None:
        """Let go of what has been unlinked: that happens only once it is drained."""
        for instance, descriptor in tuple(self._held.items()):
            if os.fstat(descriptor).st_nlink == 0:
                self.release(instance)
