"""Owns the reader that nginx's log lines go to: logplex's own, but for how a line names its app.

Run as a process: the number of the UDP socket that it inherits, and a directory.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

from oriel.clock import SystemClock
from oriel.logplex.catch import Catch
from oriel.logplex.datagrams import Datagrams
from oriel.logplex.limits import Limits
from oriel.logplex.losses import Losses
from oriel.logplex.shelf import Shelf

CHANNEL = "bench"


async def read(number: int, data: Path) -> None:
    """Store what comes, until it is ended."""
    limits, clock = Limits(), SystemClock()
    shelf = Shelf(data / "channels", limits, clock, "bench")
    await shelf.start()
    shelf.channel(CHANNEL)
    catch, losses = Catch(data / "catch", "bench"), Losses(data / "losses", "bench")
    reader = Datagrams(socket.socket(fileno=number), shelf, limits, clock, catch, losses)
    reader.channel_of = lambda _: CHANNEL
    reader.start()
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(read(int(sys.argv[1]), Path(sys.argv[2])))
