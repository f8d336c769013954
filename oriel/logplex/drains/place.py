"""Owns what is on disk of a drain: what it is, and how far it is. Must not know lines or sockets.

What it is (`ID.json`) is written once, durably. How far it is (`ID.at`) has two slots that are
written in turn, so that a kill leaves the older one whole; a loss of power costs a repetition.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from zlib import crc32

from oriel.logplex import files
from oriel.logplex.drains.machine import Health

FORMAT = 1
SLOT_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Plan:
    """What a drain is: where from, where to."""

    id: str
    token: str
    channel: str
    url: str
    created_us: int


@dataclass(slots=True)
class State:
    """How far a drain is. All before `position` was taken by the receiver, or is lost."""

    position: str
    until: str = ""
    """The end of the batch whose answer is open: it is said again exactly so."""
    told: int = 0
    """The lost lines that this batch tells of."""
    lost: int = 0
    """Lost lines that the receiver has not been told of yet."""
    lost_since_us: int = 0
    lost_at_us: int = 0
    counted: int = 0
    """Lost lines beyond `position` that are in the counts already."""
    gap_end: int = 0
    """The segment at which what is lost beyond `position` ends."""
    lost_total: int = 0
    delivered: int = 0
    health: Health = field(default_factory=Health)


class PlaceFile:
    """The file of a drain's state."""

    def __init__(self, path: Path) -> None:
        """Open or create it."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._turn = 0

    def load(self) -> State | None:
        """The newest state that is whole; None when there is none."""
        found: State | None = None
        data = files.read_at(self._fd, 2 * SLOT_BYTES, 0)
        for at in (0, SLOT_BYTES):
            body, end, _ = data[at : at + SLOT_BYTES].partition(b"\n")
            check, _, text = body.partition(b" ")
            try:
                if not end or int(check, 16) != crc32(text):
                    continue
                value = json.loads(text)
                if value.pop("version") != FORMAT or (turn := int(value.pop("turn"))) < self._turn:
                    continue
                value["health"] = Health(**value["health"])
                found, self._turn = State(**value), turn
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
        return found

    def save(self, state: State) -> None:
        """Write a state down. May raise OSError."""
        self._turn += 1
        value = {"version": FORMAT, "turn": self._turn, **asdict(state)}
        text = json.dumps(value, separators=(",", ":")).encode()
        row = b"%08x %b\n" % (crc32(text), text)
        files.write_at(self._fd, row.ljust(SLOT_BYTES, b" "), self._turn % 2 * SLOT_BYTES)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class Places:
    """The directory of all drains."""

    def __init__(self, directory: Path) -> None:
        """`directory` is DATA/drains; it is made with the first drain."""
        self._directory = directory

    def plans(self) -> Iterator[Plan]:
        """Every drain there is. One that cannot be read is left alone."""
        with contextlib.suppress(FileNotFoundError):
            for path in sorted(self._directory.glob("*.json")):
                value = files.read_json(path)
                with contextlib.suppress(KeyError, TypeError, ValueError):
                    if value and value.pop("version") == FORMAT:
                        yield Plan(**value)

    def add(self, plan: Plan, state: State) -> None:
        """Keep a new drain, durably. The state goes first: a plan without one is no drain."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self.open(plan.id)
        try:
            file.save(state)
        finally:
            file.close()
        files.write_json(self._plan(plan.id), {"version": FORMAT, **asdict(plan)})

    def open(self, drain: str) -> PlaceFile:
        """The state of a drain."""
        return PlaceFile(self._directory / f"{drain}.at")

    def remove(self, drain: str) -> None:
        """Forget a drain, durably."""
        self._plan(drain).unlink(missing_ok=True)
        (self._directory / f"{drain}.at").unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            files.sync_directory(self._directory)

    def _plan(self, drain: str) -> Path:
        return self._directory / f"{drain}.json"
