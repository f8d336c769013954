"""Owns how fast a channel's dynos may speak, and that its pages go to the disk early.

A channel has a byte rate, with some seconds' burst. After each few megabytes its pages are sent on
their way, in a thread: the kernel then never has so many dirty ones that it stops whoever writes.
Must not know FIFOs.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from oriel.logplex.channel import Channel
from oriel.logplex.limits import Limits

_SYNC_FILE_RANGE_WRITE = 2


@dataclass(slots=True)
class _Flow:
    """How one channel stands."""

    paid_until_s: float = 0.0
    """Until then what it said is paid for by its rate."""
    charged: int = 0
    written: int = 0
    """Bytes, as the channel counts them: charged to the rate, sent to the disk."""
    writing: bool = False


class Pace:
    """The flows of all channels."""

    def __init__(self, limits: Limits) -> None:
        """Nothing has flowed yet."""
        self._limits = limits
        self._flows: dict[Channel, _Flow] = {}
        self._thread = ThreadPoolExecutor(1, "logplex-write-out")

    def close(self) -> None:
        """Wait for what is on its way."""
        self._thread.shutdown(wait=True)

    def forget(self, channel: Channel) -> None:
        """A channel that nobody writes to."""
        self._flows.pop(channel, None)

    def wait_s(self, channel: Channel, now_s: float) -> float:
        """How long its dynos must wait; 0 when they may go on. Call it before each move."""
        flow = self._flows.get(channel)
        if flow is None:
            flow = self._flows[channel] = _Flow(now_s, channel.spent_bytes, channel.spent_bytes)
        moved = channel.spent_bytes - flow.charged
        if moved:
            flow.charged = channel.spent_bytes
            flow.paid_until_s = max(flow.paid_until_s, now_s) + moved / channel.policy.rate_bytes
            unsent = channel.spent_bytes - flow.written
            if unsent >= self._limits.write_out_bytes and not flow.writing:
                self._write_out(channel, flow)
        if flow.writing and channel.spent_bytes - flow.written > self._limits.dirty_bytes:
            return self._limits.retry_first_s
        return max(0.0, flow.paid_until_s - now_s - self._limits.burst_s)

    def _write_out(self, channel: Channel, flow: _Flow) -> None:
        flow.writing = True
        until = channel.spent_bytes
        fd = os.dup(channel.active.data_fd)
        loop = asyncio.get_running_loop()

        def work() -> None:
            # An error of the disk is told by the next write or sync.
            with contextlib.suppress(OSError):
                send(fd)
            os.close(fd)
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(done)

        def done() -> None:
            flow.writing = False
            flow.written = until

        self._thread.submit(work)


def _range_call() -> Callable[[int], None]:
    try:
        call = ctypes.CDLL(None, use_errno=True).sync_file_range
    except (AttributeError, OSError):
        return os.fdatasync
    call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)

    def begin(fd: int) -> None:
        # To the end of the file. It does not wait for the disk, unless its queue is full.
        call(fd, 0, 0, _SYNC_FILE_RANGE_WRITE)

    return begin


send = _range_call()
"""Begin to write a file's dirty pages to the disk."""
