"""Owns the sizes and times that logplex keeps to. Values only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one logplex; tests make them small."""

    segment_bytes: int = 64 * 1024 * 1024
    """A segment that has reached this is finished, and the next is begun."""
    segment_records: int = 256 * 1024
    """The same by records: recovery reads a whole index."""
    chunk_bytes: int = 1024 * 1024
    """What one splice may move: one chunk a source a turn."""
    pipe_bytes: int = 256 * 1024
    """What a FIFO is asked to hold, where the user may ask."""
    turn_sources: int = 64
    """How many FIFOs are looked at in one turn."""
    turn_datagrams: int = 512
    pause_s: float = 0.001
    """The wait after a turn that moved bytes: it merges small writes into one record."""
    pause_max_s: float = 0.002
    sync_interval_s: float = 1.0
    retry_first_s: float = 0.05
    retry_max_s: float = 2.0
    held_frames_bytes: int = 4 * 1024 * 1024
    """Router lines of one channel kept in memory while its disk is full."""
    held_frames_bytes_in_all: int = 64 * 1024 * 1024
    """The same of all channels."""
    unread_told_s: float = 60.0
    """Requests that could not be read are summed up this often in the platform's log, if any."""
    drops_told_s: float = 5.0
    """What the kernel drops of the router's lines in this time is told at once."""
    idle_close_s: float = 60.0
    """A channel that nobody uses is closed after this."""
    open_channels: int = 4096
    """With this many open, those that nobody uses are closed at once, the longest unused first."""
    sweep_interval_s: float = 10.0
    """How often retention looks at every channel; the free space is looked at with each sync."""
    free_floor_bytes: int = 1024 * 1024 * 1024
    """Below this much free space the oldest segments of the largest channels go, whatever their
    policy; at most a twentieth of the disk."""
    floor_keep_bytes: int = 8 * 1024 * 1024
    """A channel with no more than this gives nothing for the floor."""
    write_out_bytes: int = 8 * 1024 * 1024
    """After this much a channel's pages are sent on their way to the disk, at once."""
    dirty_bytes: int = 128 * 1024 * 1024
    """With this much of a channel not yet on its way, its dynos wait."""
    burst_s: float = 2.0
    """A channel may be ahead of its byte rate by what it may say in this time."""
    overflow_look_s: float = 0.1
    """How often it is looked whether control still reads a FIFO that overflowed."""
    late_max: int = 256
    """FIFOs of dynos that ended, which some process of theirs still holds open."""
    append_lines: int = 5000
    append_text_bytes: int = 256 * 1024
    connections: int = 512
