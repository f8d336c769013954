"""Owns what a channel knows of its finished segments: what is kept, removed, damaged, and told.

Must not know what is written now: `channel` does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from oriel.logplex import entry, policy, recovery, seal
from oriel.logplex.damage import Account, Blocks, Damage
from oriel.logplex.gone import Gone, Place, Removed, Skipped, Wants
from oriel.logplex.jobs import RemovalJob, remove_files
from oriel.logplex.seal import Seal
from oriel.logplex.segment import Extent, Segment, data_path, index_path, numbers

_SEALS_CACHED = 512
_NOTES_MAX = 100
_GAP_MAX = 16


@dataclass(slots=True)
class Rolled:
    """A finished segment that has no manifest yet."""

    extent: Extent
    last: dict[int, int]
    last_id: int


class Keeping:
    """The part of a channel that is finished."""

    active: Segment
    dirty: bool

    def __init__(self, directory: Path) -> None:
        """Nothing is read yet: see `load`."""
        self.directory = directory
        self.rolled: dict[int, Rolled] = {}
        self._seals: dict[int, Seal] = {}
        self._blocks: dict[int, Blocks] = {}
        self.policy = policy.Policy()
        self.watchers: set[Callable[[], Iterable[Place]]] = set()
        """Who wants lines beyond its places counted when they are removed."""
        self.suspects: set[int] = set()
        """Segments that look damaged; they are examined soon, in a thread."""
        self.notes: list[str] = []
        """What the channel is to be told, as soon as it can be."""

    def load(self) -> None:
        """Read the channel's settings and accounts."""
        self.policy = policy.load(self.directory / "policy")
        self.gone = Gone(self.directory / "removed")
        self.damage = Account(self.directory / "damage")

    def segments(self) -> list[int]:
        """The segments there are, oldest first; not those that are just being removed."""
        gone = self.gone.last
        return [each for each in numbers(self.directory) if each > gone]

    def seal_of(self, number: int) -> Seal | None:
        """The manifest of a segment; None when it has none (yet)."""
        if number == self.active.number or number in self.rolled:
            return None
        found = self._seals.get(number) or seal.load(self.directory, number)
        if found:
            while len(self._seals) >= _SEALS_CACHED:
                self._seals.pop(next(iter(self._seals)))
            self._seals[number] = found
        return found

    def blocks_of(self, number: int) -> Blocks | None:
        """What is known of a sealed segment's blocks; None when it has no manifest."""
        found = self._blocks.get(number)
        if found is None:
            made = self.seal_of(number)
            if made is None:
                return None
            while len(self._blocks) >= _SEALS_CACHED:
                self._blocks.pop(next(iter(self._blocks)))
            found = self._blocks[number] = Blocks(made)
        return found

    def readable(self, number: int, fd: int, start: int, stop: int) -> bool:
        """Whether a span of a segment's data is what was written, as far as that can be told."""
        blocks = self.blocks_of(number)
        if blocks is None or blocks.sound(fd, start, stop):
            return True
        self.suspects.add(number)
        return False

    def skipped(self, segment: int, record: int, byte: int, wants: Wants | None = None) -> Skipped:
        """What retention removed from a place on to the oldest segment that is left."""
        there = self.segments()
        oldest = there[0] if there else self.active.number
        if segment >= oldest:
            return Skipped()
        return self.gone.since((segment, record, byte), oldest, wants)

    def kept_bytes(self) -> int:
        """What its segments take, data and indexes."""
        total = 0
        for number in self.segments():
            for path in (data_path(self.directory, number), index_path(self.directory, number)):
                with contextlib.suppress(FileNotFoundError):
                    total += path.stat().st_size
        return total

    def since_us(self) -> int:
        """When the oldest record that is left was made; 0 when there is none."""
        for number in self.segments():
            try:
                first = index_path(self.directory, number).open("rb")
            except OSError:
                continue
            with first:
                first.seek(entry.SIZE)
                packed = first.read(entry.SIZE)
            if len(packed) == entry.SIZE and entry.sound(packed):
                return entry.unpack(packed).time_us
        return 0

    def set_policy(self, wish: Mapping[str, object]) -> policy.Policy:
        """Change some settings of the channel, durably. May raise Invalid or OSError."""
        made = policy.changed(self.policy, wish)
        if made != self.policy:
            policy.save(self.directory / "policy", made)
            self.policy = made
        return made

    def note(self, text: str) -> None:
        """Have something said by `say_notes`."""
        if len(self.notes) < _NOTES_MAX:
            self.notes.append(text)

    def found_damage(self, segment: int, found: Damage | None) -> None:
        """A segment was examined. May raise OSError: it is then examined again."""
        if found and not self.gone.has(segment) and self.damage.news(found):
            self.note(found.sentence())
        self.suspects.discard(segment)

    def removal(self, number: int, why: str) -> RemovalJob | None:
        """What removes a segment, which must be run; None unless it is the oldest, and finished."""
        if number >= self.active.number or number != self.segments()[0]:
            return None
        places = {each for watch in self.watchers for each in watch() if each[0] == number}
        rolled = self.rolled.get(number)
        return RemovalJob(
            self.directory,
            number,
            why,
            self.seal_of(number),
            rolled.last_id if rolled else 0,
            frozenset(each for each in places if each[1:] != (0, 0)),
            self.gone,
        )

    def removed(self, row: Removed) -> None:
        """A removal job ended well."""
        self.gone.know(row)
        for number in range(row.first, row.last + 1):
            self.rolled.pop(number, None)
            self._seals.pop(number, None)
            self._blocks.pop(number, None)
            self.damage.forget(number)
            self.suspects.discard(number)

    def extent_of(self, number: int) -> Extent | None:
        """How far a segment reaches; None when its files alone can tell."""
        if number == self.active.number:
            return self.active.extent
        rolled = self.rolled.get(number)
        return rolled.extent if rolled else None

    def last_of(self, number: int) -> dict[int, int]:
        """By source, the number of its last record in a segment."""
        if number == self.active.number:
            return self.active.last
        if number not in self.rolled:
            found = self.seal_of(number)
            if found:
                return {key: each.last for key, each in found.sources.items()}
            self._adopt_unsealed(number)
        return self.rolled[number].last

    def _finish_removals(self, there: list[int]) -> list[int]:
        """A kill may have come between a row of the account and the removal."""
        # The newest is never removed: a row that says so is damaged.
        for number in [each for each in there[:-1] if self.gone.has(each)]:
            remove_files(self.directory, number)
        return [each for each in there if each == there[-1] or not self.gone.has(each)]

    def _suspect_gaps(self, there: list[int]) -> None:
        """Numbers have no gaps, but where retention was: what is missing was deleted."""
        if there:
            # Not farther back: the account of what was removed may be what is damaged.
            first = max(self.gone.last + 1, there[0] - _GAP_MAX)
            missing = set(range(first, there[-1])) - set(there)
            self.suspects |= {each for each in missing if not self.gone.has(each)}

    def _adopt_unsealed(self, number: int) -> None:
        """A manifest was damaged or removed: look at the segment, and have it sealed anew."""
        found = recovery.recover(self.directory, number)
        extent = Extent(number, found.records, found.size)
        self.rolled[number] = Rolled(extent, found.last, found.last_id)
        self.dirty = True
