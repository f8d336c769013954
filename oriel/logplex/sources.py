"""Owns a channel's book of sources: which number in an index entry is who. Append-only.

Must not know records. A row is written before the first entry that names it.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from oriel.logplex import entry, files


@dataclass(frozen=True, slots=True)
class Source:
    """Who spoke: `app` or `heroku`, the process, and of which dyno instance and release."""

    id: int
    source: str
    ps: str
    instance: str = ""
    release: int = 0

    @property
    def label(self) -> str:
        """As a line's header names it: `app[web.1]`."""
        return f"{self.source}[{self.ps}]" if self.ps else self.source


class SourceBook:
    """The file of sources of one channel, and the same in memory."""

    def __init__(self, path: Path) -> None:
        """Open or create the file; a torn last row is cut."""
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = 0
        self.rows: dict[int, Source] = {}
        self._ids: dict[tuple[str, str, str, int], int] = {}
        self._next = 1
        self._load()
        self.dirty = True

    def find_or_add(self, source: str, ps: str, instance: str, release: int) -> tuple[Source, bool]:
        """The row of that speaker, and whether it is new."""
        key = (source, ps, instance, release)
        known = self._ids.get(key)
        if known is not None:
            return self.rows[known], False
        row = Source(self._next, source, ps, instance, release)
        self._append(
            {
                "id": row.id,
                "source": source,
                "ps": ps,
                "instance": instance,
                "release": release,
            }
        )
        self._keep(row)
        return row, True

    def get(self, number: int) -> Source:
        """The row of a number; one whose row was lost is shown as unknown."""
        return self.rows.get(number) or Source(number, "app", "unknown")

    def reserve(self, number: int) -> None:
        """Give no new source that number or a lower one: entries may name it."""
        self._next = max(self._next, number + 1)

    def duplicate(self) -> int:
        """The file's descriptor once more, for a sync in another thread."""
        return os.dup(self._fd)

    def renew(self) -> None:
        """Somebody deleted the file: write another, of what is in memory. May raise OSError."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.close(self._fd)
        self._fd, self._size = fd, 0
        self._append({"oriel": "sources", "version": entry.FORMAT})
        for row in self.rows.values():
            self._append(asdict(row))

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _keep(self, row: Source) -> None:
        self.rows[row.id] = row
        self._ids[(row.source, row.ps, row.instance, row.release)] = row.id
        self.reserve(row.id)

    def _append(self, value: dict[str, object]) -> None:
        line = json.dumps(value, separators=(",", ":")).encode() + b"\n"
        files.write_at(self._fd, line, self._size)
        self._size += len(line)
        self.dirty = True

    def _load(self) -> None:
        data = files.read_at(self._fd, os.fstat(self._fd).st_size, 0)
        whole = data[: data.rfind(b"\n") + 1]
        for number, line in enumerate(whole.split(b"\n")[:-1]):
            row = _parsed(line)
            if row:
                self._keep(row)
            # A row's number is its line's (the header is line 0): a damaged row's is not reused.
            self.reserve(number)
        self._size = len(whole)
        if len(data) > len(whole):
            os.ftruncate(self._fd, self._size)
        if not whole:
            self._append({"oriel": "sources", "version": entry.FORMAT})


def _parsed(line: bytes) -> Source | None:
    try:
        value = json.loads(line)
        return Source(
            int(value["id"]),
            str(value["source"]),
            str(value["ps"]),
            str(value["instance"]),
            int(value["release"]),
        )
    except (ValueError, KeyError, TypeError):
        # The header, or a damaged row: its records are shown as from an unknown source.
        return None
