"""Owns one log channel: its open segment, its order, its time, and what was kept of the outbox.

Must not know FIFOs, sockets or readers; it tells listeners that there is more. Everything here is
synchronous and runs in the loop; what waits for the disk is a job of `jobs`, for a thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from oriel import faults
from oriel.logplex import checkpoint, entry, files, frame, recovery, seal
from oriel.logplex.damage import Damage
from oriel.logplex.jobs import Synced, SyncJob
from oriel.logplex.keeping import Keeping, Rolled
from oriel.logplex.limits import Limits
from oriel.logplex.mark import Mark, MarkFile
from oriel.logplex.segment import Extent, Segment, numbers
from oriel.logplex.sources import Source, SourceBook

_SEGMENTS_OF_ALL = 8
"""What a channel may keep is at least this many segments: retention takes whole ones."""


@dataclass(frozen=True, slots=True)
class PlatformLine:
    """A line of the platform's, with the id that the outbox gave it."""

    id: int
    source: str
    ps: str
    text: str
    severity: int = 6
    release: int = 0
    data: Mapping[str, str] = field(default_factory=dict)


class Channel(Keeping):
    """One channel, open for writing. Only one process may have it."""

    def __init__(self, directory: Path, limits: Limits, boot_id: str) -> None:
        """Open it, or make it; recovers what a kill or a power loss left. May raise OSError."""
        super().__init__(directory)
        self.limits = limits
        self.boot_id = boot_id
        self.listeners: set[Callable[[], None]] = set()
        self.set_aside_bytes = 0
        self.forgotten = False
        self.last_id = 0
        self._last_us = 0
        self._fresh: set[int] = set()
        self.spent_bytes = 0
        """Moved from FIFOs since the channel was opened; whoever keeps to a rate looks at it."""
        made = not directory.exists()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.load()
        self._known = checkpoint.load(directory / "tail")
        if self._known and self._known.boot_id != boot_id:
            self._known = None
        self.book = SourceBook(directory / "sources")
        self._mark_file = MarkFile(directory / "synced")
        self.active = self._recover()
        self.dirty = True
        if made:
            self._begin_durably()

    @property
    def name(self) -> str:
        """The channel's name, which is its directory's."""
        return self.directory.name

    @property
    def extent(self) -> Extent:
        """How far it reaches now."""
        return self.active.extent

    def source(self, source: str, ps: str, instance: str = "", release: int = 0) -> Source:
        """The number of a speaker in this channel; made when it is new. May raise OSError."""
        row, new = self.book.find_or_add(source, ps, instance, release)
        if new:
            self._fresh.add(row.id)
        return row

    def splice(self, source: Source, fd: int, now_us: int) -> int:
        """Move one chunk from a pipe into the channel, inside the kernel; returns its size.

        Raises BlockingIOError when the pipe is empty; an OSError when the disk takes nothing:
        the bytes are then still in the pipe.
        """
        segment = self._begin(source, now_us, entry.STREAM)
        try:
            moved = os.splice(fd, segment.data_fd, self.limits.chunk_bytes, offset_dst=segment.size)
        except BlockingIOError:
            raise
        except OSError:
            moved = segment.moved_beyond()
            if moved <= 0:
                raise
        if moved:
            self._commit(source.id, moved)
            self.spent_bytes += moved
        return moved

    def write(self, source: Source, data: bytes, now_us: int, kind: int = entry.STREAM) -> int:
        """Write bytes of a source that could not be spliced; returns how many were taken."""
        segment = self._begin(source, now_us, kind)
        taken = os.pwrite(segment.data_fd, data, segment.size)
        self._commit(source.id, taken)
        self.spent_bytes += taken
        return taken

    def close_line(self, source: Source, now_us: int) -> None:
        """End the unfinished last line of a source that will say no more."""
        self.write(source, b"\n", now_us, entry.CLOSE)

    def append_platform(self, lines: Sequence[PlatformLine], now_us: int) -> int:
        """Keep lines of the platform, each id once; returns the last id kept in the channel."""
        time_us = self._time(now_us)
        new: list[tuple[Source, int, bytes]] = []
        last_id = self.last_id
        for line in lines:
            if line.id <= last_id:
                continue
            text = frame.platform(
                line.id, time_us, line.source, line.ps, line.text, line.severity, line.data
            )
            new.append((self.source(line.source, line.ps), line.release, text))
            last_id = line.id
        self._append_whole(new, entry.PLATFORM, time_us)
        self.last_id = last_id
        return last_id

    def append_frames(self, source: Source, frames: Sequence[bytes], now_us: int) -> None:
        """Keep frames as they came: each one line, with its newline."""
        self._append_whole([(source, 0, b"".join(frames))], entry.FRAMES, self._time(now_us))

    def append_runs(self, runs: Sequence[tuple[Source, bytes]], now_us: int) -> None:
        """Keep runs of whole lines, each run one record; all of them or none."""
        parts = [(source, 0, lines) for source, lines in runs]
        self._append_whole(parts, entry.FRAMES, self._time(now_us))
        self.spent_bytes += sum(len(lines) for _, lines in runs)

    def say(self, text: str, now_us: int, severity: int = 4) -> None:
        """A line of logplex's own, as `heroku[logplex]`. May raise OSError."""
        time_us = self._time(now_us)
        line = frame.platform(0, time_us, "heroku", "logplex", text, severity)
        self._append_whole([(self.source("heroku", "logplex"), 0, line)], entry.FRAMES, time_us)

    def say_notes(self, now_us: int) -> None:
        """Say what is to be said; what cannot be, now, is said later."""
        try:
            while self.notes:
                self.say(self.notes[0], now_us)
                self.notes.pop(0)
        except OSError:
            return

    def sync_job(self) -> SyncJob | None:
        """What makes all that is committed now durable; None when all is. It must be run."""
        if not self.dirty:
            return None
        if (
            os.fstat(self.active.data_fd).st_nlink == 0
            or not os.fstat(self.active.index_fd).st_nlink
        ):
            self._leave_deleted()
        self.dirty = False
        extent = self.active.extent
        return SyncJob(
            self.directory,
            (os.dup(self.active.data_fd), os.dup(self.active.index_fd), self.book.duplicate()),
            tuple((number, each.last_id) for number, each in sorted(self.rolled.items())),
            Mark(self.boot_id, extent.segment, extent.records, extent.size),
            self._mark_file,
            checkpoint.due(self._known, self.boot_id, self.active, self._last_us, self.last_id),
            self._known,
        )

    def synced(self, done: Synced) -> None:
        """A sync job ended well."""
        for each in done.seals:
            self.rolled.pop(each.segment, None)
            self._seals[each.segment] = each
            if each.damaged:
                self.suspects.add(each.segment)
        for number in done.lost:
            self.rolled.pop(number, None)
            self.suspects.add(number)
        self._known = done.known

    def sync_failed(self) -> None:
        """A sync job ended badly: there will be another."""
        self.dirty = True

    def roll(self) -> None:
        """Finish the segment that is being written, unless it is empty. May raise OSError."""
        if self.active.records:
            self._roll()

    def tell(self) -> None:
        """Tell the listeners that there is something new."""
        for each in list(self.listeners):
            each()

    def close(self) -> None:
        """Close the files."""
        self.active.close()
        self.book.close()
        self._mark_file.close()

    def _time(self, now_us: int) -> int:
        # Order is the sequence of records: time follows it, whatever the clock does.
        self._last_us = max(self._last_us, now_us)
        return self._last_us

    def _begin(self, source: Source, now_us: int, kind: int) -> Segment:
        self._roll_if_full()
        flags = entry.FIRST if source.id in self._fresh else 0
        self.active.begin(self._time(now_us), source.id, source.release, kind, flags)
        return self.active

    def _commit(self, source: int, size: int) -> None:
        self.active.commit(source, size)
        self._fresh.discard(source)
        self._grown()

    def _grown(self) -> None:
        self.dirty = True
        for tell in self.listeners:
            tell()

    def _append_whole(self, parts: list[tuple[Source, int, bytes]], kind: int, time: int) -> None:
        """Write whole frames in one go: all of them or, when the disk is full, none."""
        if not parts:
            return
        self._roll_if_full()
        segment = self.active
        try:
            segment.begin_many(
                time, [(each.id, release, kind, 0, len(text)) for each, release, text in parts]
            )
            files.write_at(segment.data_fd, b"".join(each[2] for each in parts), segment.size)
        except OSError:
            segment.cut_back()
            raise
        for each, _, text in parts:
            segment.commit(each.id, len(text))
            self._fresh.discard(each.id)
        self._grown()

    def _roll_if_full(self) -> None:
        full = self.active
        limit = min(self.limits.segment_bytes, self.policy.max_bytes // _SEGMENTS_OF_ALL)
        records = min(self.limits.segment_records, max(64, limit // entry.SIZE))
        if full.size >= limit or full.records >= records:
            self._roll()

    def _roll(self) -> None:
        full = self.active
        self.active = Segment.create(self.directory, full.number + 1)
        self.rolled[full.number] = Rolled(full.extent, full.last, self.last_id)
        full.close()
        self.dirty = True

    def _leave_deleted(self) -> None:
        """Somebody deleted the files that are being written: go on in new ones."""
        lost = self.active
        if not self.directory.is_dir():
            # All of it: what is in memory is all that there is.
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.book.renew()
            self._mark_file.renew()
        self.active = Segment.create(self.directory, lost.number + 1)
        self.note(
            Damage(
                lost.number, "its files were deleted", None, lost.size, 0, self._last_us
            ).sentence()
        )
        lost.close()

    def _recover(self) -> Segment:
        there = self._finish_removals(numbers(self.directory))
        mark = self._mark_file.load()
        power_lost = bool(there and mark and mark.boot_id != self.boot_id)
        if mark and power_lost:
            self.set_aside_bytes = recovery.cut_to_mark(self.directory, mark)
            if self.set_aside_bytes:
                self.note(
                    f"The machine stopped, and the last {self.set_aside_bytes} bytes were not yet "
                    "safely on disk: they are set aside, and not shown."
                )
        goes_on: tuple[int, recovery.Found] | None = None
        for number in self._unsealed(there):
            found = recovery.recover(self.directory, number, self._known)
            self._learn(number, found)
            if found.hurt:
                self.suspects.add(number)
            # Records that a power loss took may have been read: their positions, hence their
            # segment, are not used again.
            usable = found.goes_on and not power_lost and number > self.gone.last
            if number == there[-1] and usable:
                goes_on = (number, found)
        self._suspect_gaps(there)
        if goes_on is None:
            # No number comes twice: positions in what is gone are still asked for.
            last = max([0, self.gone.last, mark.segment if mark else 0, *there])
            return Segment.create(self.directory, last + 1)
        number, found = goes_on
        self.rolled.pop(number)
        return Segment.reopen(self.directory, number, found.records, found.size, found.last)

    def _unsealed(self, there: list[int]) -> list[int]:
        """The segments without manifest, oldest first; takes over what the last manifest knows."""
        unsealed: list[int] = []
        for number in reversed(there):
            found = seal.load(self.directory, number)
            if found:
                self._last_us, self.last_id = found.last_us, found.last_id
                self.book.reserve(max(found.sources, default=0))
                break
            unsealed.insert(0, number)
        return unsealed

    def _learn(self, number: int, found: recovery.Found) -> None:
        self._last_us = max(self._last_us, found.last_us)
        self.last_id = max(self.last_id, found.last_id)
        self.book.reserve(max(found.last, default=0))
        extent = Extent(number, found.records, found.size)
        self.rolled[number] = Rolled(extent, found.last, self.last_id)

    def _begin_durably(self) -> None:
        extent = self.active.extent
        self._mark_file.write(Mark(self.boot_id, extent.segment, extent.records, extent.size))
        files.sync_directory(self.directory)
        files.sync_directory(self.directory.parent)


def check_name(name: object) -> str:
    """A channel's name from outside; raises Invalid. It becomes a directory's name."""
    if not isinstance(name, str) or not frame.CHANNEL.fullmatch(name):
        raise faults.Invalid("A channel's name is 1 to 64 letters, digits, - and _.")
    return name
