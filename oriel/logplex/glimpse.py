"""Owns reading a channel whose disk takes nothing: a copy of what is still being written, beside
links to all that is finished, for as long as somebody reads.

A channel is opened to be written, and what a kill left of it is set right first. On a disk that
has become read-only neither can be done there; in a place of our own both can, and what was said
can be read when it is needed most. Must not know readers.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from oriel import faults
from oriel.logplex import seal
from oriel.logplex.channel import Channel, check_name
from oriel.logplex.limits import Limits
from oriel.logplex.segment import numbers
from oriel.logplex.shelf import Shelf

GLIMPSES_MAX = 8
"""Each copies up to a segment."""


class Glimpses:
    """Channels for reading alone."""

    def __init__(self, shelf: Shelf, limits: Limits) -> None:
        """The shelf is started and closed by who made it."""
        self._shelf = shelf
        self._limits = limits
        self._count = 0

    @contextlib.contextmanager
    def used(self, name: object) -> Iterator[Channel]:
        """The channel of that name, also where it cannot be opened because its disk takes nothing
        any more. What is said of it from then on is not seen there.
        """
        with contextlib.ExitStack() as stack:
            try:
                channel = stack.enter_context(self._shelf.used(name))
            except OSError as error:
                directory = self._shelf.directory / check_name(name)
                if error.errno != errno.EROFS or not directory.is_dir():
                    raise
                if self._count >= GLIMPSES_MAX:
                    said = "The disk is read-only, and many read from it; try again later."
                    raise faults.Unavailable(said) from error
                self._count += 1
                stack.callback(self._gone)
                boot_id = self._shelf.boot_id
                channel = stack.enter_context(glimpse(directory, self._limits, boot_id))
            yield channel

    def _gone(self) -> None:
        self._count -= 1


@contextlib.contextmanager
def glimpse(directory: Path, limits: Limits, boot_id: str) -> Iterator[Channel]:
    """The channel in `directory` as it is now; nothing that is written to it stays. May raise
    OSError.
    """
    with tempfile.TemporaryDirectory(prefix="oriel-glimpse-") as place:
        # Its name is the channel's, so that positions mean what they mean there.
        beside = Path(place) / directory.name
        beside.mkdir(mode=0o700)
        finished = {
            f"{number:08d}" for number in numbers(directory) if seal.load(directory, number)
        }
        for each in directory.iterdir():
            if each.name.partition(".")[0] in finished:
                (beside / each.name).symlink_to(each)
            else:
                shutil.copyfile(each, beside / each.name)
        channel = Channel(beside, limits, boot_id)
        try:
            yield channel
        finally:
            channel.close()
