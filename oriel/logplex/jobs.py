"""Owns the parts of a channel's work that wait for the disk: syncing it, removing a segment of it.

A job is made in the loop from what is true then, run in a thread, and its result is taken in by
the loop. Must not touch the channel itself.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import sleep
from zlib import crc32

from oriel.logplex import checkpoint, entry, files, seal
from oriel.logplex.checkpoint import Checkpoint
from oriel.logplex.gone import Gone, Place, Removed, Tally
from oriel.logplex.mark import Mark, MarkFile
from oriel.logplex.seal import REST_S, SLICE_RECORDS, Seal
from oriel.logplex.segment import data_path, index_path, seal_path


@dataclass(frozen=True, slots=True)
class Synced:
    """What a sync did: the manifests it made, the segments whose files were not there."""

    seals: tuple[Seal, ...]
    lost: tuple[int, ...]
    known: Checkpoint | None


@dataclass(frozen=True, slots=True)
class SyncJob:
    """The part of a sync that waits for the disk; one at a time."""

    directory: Path
    fds: tuple[int, int, int]
    """Copies: data, index, book of sources."""
    to_seal: tuple[tuple[int, int], ...]
    mark: Mark
    mark_file: MarkFile
    due: Checkpoint | None
    known: Checkpoint | None

    def run(self) -> Synced:
        """Make it durable, oldest first, then say so in the marker. May raise OSError."""
        seals: list[Seal] = []
        lost: list[int] = []
        try:
            for number, last_id in self.to_seal:
                try:
                    seals.append(seal.make(self.directory, number, last_id))
                except FileNotFoundError:
                    lost.append(number)
            known = self._save_checkpoint(self.fds[1])
            for fd in self.fds:
                os.fdatasync(fd)
            # The names of files made since.
            files.sync_directory(self.directory)
            self.mark_file.write(self.mark)
        finally:
            for fd in self.fds:
                os.close(fd)
        return Synced(tuple(seals), tuple(lost), known)

    def _save_checkpoint(self, index_fd: int) -> Checkpoint | None:
        if not self.due:
            return self.known
        base, crc = 0, 0
        if self.known and self.known.segment == self.due.segment:
            base, crc = self.known.records, self.known.index_crc
        size = (self.due.records - base) * entry.SIZE
        crc = crc32(files.read_at(index_fd, size, (base + 1) * entry.SIZE), crc)
        made = replace(self.due, index_crc=crc)
        checkpoint.save(self.directory / "tail", made)
        return made


@dataclass(frozen=True, slots=True)
class RemovalJob:
    """The removal of one finished segment, but for its last step: counted and written down.

    The files go only after the channel knows of it (`remove_files`): a reader that finds them gone
    asks at once what it missed.
    """

    directory: Path
    number: int
    why: str
    seal: Seal | None
    last_id: int
    places: frozenset[Place]
    gone: Gone

    def run(self) -> Removed:
        """Do it. May raise OSError; the segment is then kept."""
        made, beyond = self._counted()
        row = Removed(
            self.number,
            self.number,
            made.first_us if made else 0,
            made.last_us if made else 0,
            self.why,
            {key: (each.lines, each.bytes) for key, each in made.sources.items()} if made else {},
            beyond,
        )
        try:
            self.gone.write(row)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            # Not even a row fits. The manifest and the index go first, which were counted.
            seal_path(self.directory, self.number).unlink(missing_ok=True)
            index_path(self.directory, self.number).unlink(missing_ok=True)
            self.gone.write(row)
        return row

    def _counted(self) -> tuple[Seal | None, Mapping[Place, Tally]]:
        if self.seal and not self.places:
            return self.seal, {}
        try:
            with contextlib.ExitStack() as stack:
                fds = []
                for path in (data_path, index_path):
                    fd = os.open(path(self.directory, self.number), os.O_RDONLY | os.O_CLOEXEC)
                    stack.callback(os.close, fd)
                    fds.append(fd)
                made = self.seal or seal.count(fds[0], fds[1], self.number, self.last_id)
                return made, {each: _beyond(fds[0], fds[1], each) for each in self.places}
        except FileNotFoundError:
            return self.seal, {}


def remove_files(directory: Path, number: int) -> None:
    """Remove a segment's files. The data goes first: its name alone would be a segment."""
    for path in (data_path, index_path, seal_path):
        path(directory, number).unlink(missing_ok=True)


def _beyond(data_fd: int, index_fd: int, place: Place) -> Tally:
    """By source, the lines and bytes that end beyond a place of a segment."""
    size = os.fstat(data_fd).st_size
    _, record, byte = place
    body = files.read_at(
        index_fd, os.fstat(index_fd).st_size - (record + 1) * entry.SIZE, (record + 1) * entry.SIZE
    )
    found: Tally = {}
    for part in entry.parts(body[: len(body) - len(body) % entry.SIZE], size, SLICE_RECORDS):
        for at, each, stop in part.spans:
            start = each[1] + (byte if at == 0 else 0)
            if start < stop:
                data = files.read_at(data_fd, stop - start, start)
                had = found.get(each[2], (0, 0))
                found[each[2]] = (had[0] + data.count(b"\n"), had[1] + len(data))
        sleep(REST_S)
    return found
