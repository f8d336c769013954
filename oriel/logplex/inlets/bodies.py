"""Owns one request's body: unpacking it within bounds, and its frames (application/logplex-1).

Pure. A body is kept whole or not at all, so it is gathered here first. Must not know HTTP.
"""

from __future__ import annotations

import zlib
from dataclasses import replace

from oriel import faults
from oriel.logplex.inlets.bounds import Bounds
from oriel.logplex.inlets.framing import Run, Splitter

_GZIP = 31
_PART_BYTES = 64 * 1024

MALFORMED = "Malformed log messages"
MISCOUNTED = "Message count mismatch"


class Body:
    """The body of one request, as it comes."""

    def __init__(self, bounds: Bounds, gzipped: bool) -> None:
        self._bounds = bounds
        self._gzip = zlib.decompressobj(_GZIP) if gzipped else None
        self._splitter = Splitter(replace(bounds, frame_bytes=bounds.post_frame_bytes), strict=True)
        self._runs: list[Run] = []
        self.count = 0
        """Frames so far."""
        self.size = 0
        """Bytes so far, unpacked."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes as they came; raises TooLarge, or BadRequest."""
        if self._gzip is None:
            self._add(data)
            return
        try:
            while data:
                self._add(self._gzip.decompress(data, _PART_BYTES))
                data = self._gzip.unconsumed_tail
                if self._gzip.eof:
                    data = self._gzip.unused_data
                    self._gzip = zlib.decompressobj(_GZIP)
        except zlib.error as error:
            raise faults.BadRequest(MALFORMED) from error

    def end(self, announced: int | None) -> list[Run]:
        """All its frames; raises BadRequest when they are not, or not as many as announced."""
        self._splitter.end()
        if self._splitter.broken:
            raise faults.BadRequest(MALFORMED)
        if announced is not None and announced != self.count:
            raise faults.BadRequest(MISCOUNTED)
        return self._runs

    def _add(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > self._bounds.post_bytes:
            raise faults.TooLarge(f"A body has at most {self._bounds.post_bytes} bytes, unpacked.")
        runs = self._splitter.feed(data)
        if self._splitter.broken:
            raise faults.BadRequest(MALFORMED)
        self._runs += runs
        self.count += sum(each.count for each in runs)
