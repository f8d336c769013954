"""Owns the frames that `oriel run` and the rendezvous exchange once they have met. Values only.

A frame is one letter, the length of its payload (4 bytes, big-endian), the payload. From the
client: `i` input, `e` its end, `w` the window (columns, lines; 2 bytes each), `s` a signal's name.
From the server: `o` and `r` what came on stdout and stderr, `t` how many bytes of input were taken
(4 bytes), `x` the end, as JSON {"code": number or null, "why": text}. A client sends at most
CREDIT_BYTES of input that were not yet taken, so a program that does not read never keeps a window
or a signal from getting through. Must not know sockets.
"""

from __future__ import annotations

import struct

QUERY = "frames=1"
"""What a client that speaks frames adds to its secret, behind a question mark."""

GREETING = b"oriel 1\r\n"
REFUSAL = b"refused\r\n"

INPUT, END, WINDOW, SIGNAL = b"i", b"e", b"w", b"s"
OUT, ERR, TAKEN, EXIT = b"o", b"r", b"t", b"x"

PAYLOAD_BYTES_MAX = 64 * 1024
CREDIT_BYTES = 128 * 1024
SIGNALS = ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2")
"""Those that a client may have sent to its program."""

_HEADER = struct.Struct("!cI")
_WINDOW = struct.Struct("!HH")
_COUNT = struct.Struct("!I")


class Malformed(ValueError):
    """What came is no frame, or none that this side is sent."""


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    """A frame as it goes over the wire."""
    return _HEADER.pack(kind, len(payload)) + payload


def window(columns: int, lines: int) -> bytes:
    """The frame of a window's size."""
    return frame(WINDOW, _WINDOW.pack(min(columns, 65535), min(lines, 65535)))


def window_of(payload: bytes) -> tuple[int, int]:
    """Columns and lines."""
    if len(payload) != _WINDOW.size:
        raise Malformed("a window of a wrong size")
    columns, lines = _WINDOW.unpack(payload)
    return columns, lines


def taken(count: int) -> bytes:
    """The frame that says how much input was taken."""
    return frame(TAKEN, _COUNT.pack(count))


def taken_of(payload: bytes) -> int:
    """How much input was taken."""
    if len(payload) != _COUNT.size:
        raise Malformed("a count of a wrong size")
    return int(_COUNT.unpack(payload)[0])


class Frames:
    """Takes frames out of a stream of bytes."""

    def __init__(self, kinds: bytes) -> None:
        """`kinds` are the letters that may come."""
        self._kinds = kinds
        self._kept = bytearray()

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """The frames that are whole now; Malformed for what cannot be one."""
        self._kept += data
        found = []
        while len(self._kept) >= _HEADER.size:
            kind, length = _HEADER.unpack_from(self._kept)
            if kind not in self._kinds or length > PAYLOAD_BYTES_MAX:
                raise Malformed(f"a frame {kind!r} of {length} bytes")
            end = _HEADER.size + length
            if len(self._kept) < end:
                break
            found.append((kind, bytes(self._kept[_HEADER.size : end])))
            del self._kept[:end]
        return found
