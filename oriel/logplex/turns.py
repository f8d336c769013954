"""Owns the readers' turns: few slices are read between two looks at what comes in.

Must not know what a slice is. However many readers there are, intake is held up by at most
`at_once` slices.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

AT_ONCE = 4


class Turns:
    """`async with turns:` around one slice; each waits behind those who came before."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        """`at_once` slices may run in one pass of the loop."""
        self._places = asyncio.Semaphore(at_once)

    async def __aenter__(self) -> None:
        await self._places.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The place is free in the next pass, when intake has had its look.
        asyncio.get_running_loop().call_soon(self._places.release)

    async def pause(self) -> None:
        """For a slice that turns out long: let the loop go round once."""
        await asyncio.sleep(0)
