"""Owns the checkpoint of the segment being written: what was in its index, so that a start after
a kill need not read all of it again.

It is only a shortcut: of this boot, checked against the index's bytes, and when anything about it
is odd the whole index is read. It is never synced; after a power loss it is not looked at.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from oriel.logplex import entry, files
from oriel.logplex.segment import Segment

EVERY_RECORDS = 4096
"""What a start reads one by one is about as much as this."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The first `records` of a segment."""

    boot_id: str
    segment: int
    records: int
    index_crc: int
    """Of their entries."""
    last_us: int
    last_id: int
    last: dict[int, int]


def due(
    known: Checkpoint | None, boot_id: str, active: Segment, last_us: int, last_id: int
) -> Checkpoint | None:
    """The checkpoint that should be made now; its checksum is still to be put in."""
    base = known.records if known and known.segment == active.number else 0
    if active.records - base < EVERY_RECORDS:
        return None
    return Checkpoint(
        boot_id, active.number, active.records, 0, last_us, last_id, dict(active.last)
    )


def load(path: Path) -> Checkpoint | None:
    """The checkpoint at `path`, None when there is none that can be trusted."""
    value = files.read_json(path)
    try:
        if not value or value["version"] != entry.FORMAT:
            return None
        return Checkpoint(
            str(value["boot"]),
            int(value["segment"]),
            int(value["records"]),
            int(value["index_crc32"]),
            int(value["last_us"]),
            int(value["last_id"]),
            {int(key): int(each) for key, each in value["last"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def save(path: Path, made: Checkpoint) -> None:
    """Keep it. A failure is none: it is a shortcut only."""
    body = json.dumps(
        {
            "version": entry.FORMAT,
            "boot": made.boot_id,
            "segment": made.segment,
            "records": made.records,
            "index_crc32": made.index_crc,
            "last_us": made.last_us,
            "last_id": made.last_id,
            "last": {str(key): each for key, each in made.last.items()},
        },
        separators=(",", ":"),
    ).encode()
    draft = path.with_name(path.name + ".new")
    with contextlib.suppress(OSError):
        draft.write_bytes(body + b"\n%08x\n" % crc32(body))
        os.rename(draft, path)
