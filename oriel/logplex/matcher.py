"""Owns trying a pattern on lines, in a process of its own. Must not know channels.

A regular expression may take for ever on a line that was made for it, and nothing in this process
could stop it. So a child tries it, with an alarm that ends the child however busy it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import sys
from pathlib import Path

from oriel import faults

PATTERN_MAX = 500
RUNNING_MAX = 16
"""How many patterns may be tried at once, each in its process."""
BATCH_BYTES = 256 * 1024
_TRIAL = Path(__file__).with_name("trial.py")
_COUNT = struct.Struct("<II")


class Matcher:
    """One pattern, and the process that tries it."""

    running = 0

    def __init__(self, pattern: str) -> None:
        """The process is started when it is first needed."""
        self._pattern = pattern
        self._child: asyncio.subprocess.Process | None = None
        self._counted = False

    async def start(self) -> None:
        """Start the process. Raises Invalid when the pattern is none."""
        if Matcher.running >= RUNNING_MAX:
            raise faults.Unavailable(
                f"{RUNNING_MAX} searches by pattern are under way.",
                hint="Try again later, or use --grep without --regex.",
            )
        Matcher.running += 1
        self._counted = True
        self._child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-IS",
            str(_TRIAL),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        pattern = self._pattern.encode()
        (good,) = await self._answer(_COUNT.pack(len(pattern), 0) + pattern, 1)
        if not good:
            raise faults.Invalid(
                f"The pattern {self._pattern!r} is no regular expression, or too large a one."
            )

    async def matching(self, lines: list[bytes]) -> list[bool]:
        """For each line whether the pattern is found in it."""
        found: list[bool] = []
        batch: list[bytes] = []
        size = 0
        for line in lines:
            batch.append(line)
            size += len(line)
            if size >= BATCH_BYTES:
                found += await self._batch(batch)
                batch, size = [], 0
        return found + (await self._batch(batch) if batch else [])

    async def close(self) -> None:
        """End the process."""
        child, self._child = self._child, None
        Matcher.running -= self._counted
        self._counted = False
        if child:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            # Reads to the end too: its pipes are closed then.
            await child.communicate()

    async def _batch(self, lines: list[bytes]) -> list[bool]:
        text = b"".join(each + b"\n" for each in lines)
        head = _COUNT.pack(len(text), len(lines))
        return [bool(each) for each in await self._answer(head + text, len(lines))]

    async def _answer(self, request: bytes, size: int) -> bytes:
        child = self._child
        if child is None or child.stdin is None or child.stdout is None:
            raise faults.Broken("The pattern's process was not started.")
        try:
            child.stdin.write(request)
            await child.stdin.drain()
            return await child.stdout.readexactly(size)
        except (OSError, asyncio.IncompleteReadError):
            raise faults.Invalid(
                f"The pattern {self._pattern!r} takes too long.",
                hint="Use a simpler one, or --grep without --regex.",
            ) from None
