"""Owns the sizes and times that the ways in keep to, and what each counts. Values only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of all ways in; tests make them small."""

    frame_bytes: int = 64 * 1024
    """A longer line is cut, a longer frame is not taken for one."""
    malformed_bytes: int = 10_240
    """What is kept of bytes that are no frame."""
    resync_bytes: int = 1024 * 1024
    """A stream of counted frames that has lost its place for so long is closed."""
    chunk_bytes: int = 256 * 1024
    pause_s: float = 0.001
    """The wait after a small read: it makes one record of what comes meanwhile."""
    connections: int = 1024
    """Of one listener, those in a TLS handshake too."""
    silent_s: float = 30.0
    """A connection that has not said one whole line by then is closed."""
    idle_s: float = 3600.0
    handshake_s: float = 10.0
    held_bytes: int = 32 * 1024 * 1024
    """All that waits in memory for a full disk."""
    retry_first_s: float = 0.05
    retry_max_s: float = 2.0
    turn_packets: int = 512
    processes: int = 1000
    """Names of processes that senders may give themselves, in one channel."""
    routes: int = 16 * 1024
    """Remembered routes."""
    post_bytes: int = 8 * 1024 * 1024
    """The body of one request, unpacked."""
    post_frame_bytes: int = 10_240
    posts_bytes: int = 64 * 1024 * 1024
    """The bodies of all requests under way."""
    head_bytes: int = 16 * 1024
    request_s: float = 60.0
    frame_ids: int = 4096
    """Remembered `Logplex-Frame-Id`s."""


@dataclass(slots=True)
class Counts:
    """What became of what came in by one door."""

    frames: int = 0
    """Lines kept, those marked malformed among them."""
    malformed: int = 0
    unknown_token: int = 0
    """Lines not kept: they name no token that there is."""
    cut_bytes: int = 0
    """Bytes not kept: of lines that are too long, or of streams that lost their place."""
    dropped: int = 0
    """Lines not kept because the disk was full for longer than memory could hold them."""
    connections: int = 0
    refused: int = 0
    """Connections over the limit."""
    silent: int = 0
    """Connections closed because nothing came."""
    kernel_dropped: int = 0
    """Datagrams that the kernel dropped because its buffer was full."""
