"""Owns keeping an exit status whole in the output. Pure.

The official `heroku run -x` makes the command print `U+FFFF heroku-command-exit-status: N` and
looks for it in every chunk by itself, so it must not be cut in two (heroku-cli-contract 2.7).
"""

from __future__ import annotations

SIGN = "\uffff".encode()
STATUS = SIGN + b" heroku-command-exit-status: "
BYTES_MAX = 64
"""A sign that no line's end follows within so many bytes is not the one that is looked for."""


class Marker:
    """Cuts output into chunks none of which ends inside the marker."""

    def __init__(self) -> None:
        """Nothing is held back."""
        self._held = b""
        self.is_told = False
        """Whether the marker has come."""

    def feed(self, data: bytes) -> list[bytes]:
        """What may go now, in pieces that are to be sent one by one."""
        data = self._held + data
        self._held = b""
        at = data.rfind(SIGN)
        if at >= 0 and b"\n" in data[at:]:
            end = data.index(b"\n", at) + 1
            self.is_told = self.is_told or data[at:end].startswith(STATUS)
            return [each for each in (data[:at], data[at:end], *self.feed(data[end:])) if each]
        if at >= 0 and len(data) - at < BYTES_MAX:
            data, self._held = data[:at], data[at:]
        elif at < 0:
            for size in range(len(SIGN) - 1, 0, -1):
                if data.endswith(SIGN[:size]):
                    data, self._held = data[:-size], data[-size:]
                    break
        return [data] if data else []

    def rest(self) -> bytes:
        """What is left when no more comes."""
        held, self._held = self._held, b""
        return held
