"""Owns putting logplex together as a process, and taking it apart. Must not do its work.

It may be killed at any instruction; a SIGTERM only saves the next start the recovery.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from oriel import faults
from oriel.clock import Clock, SystemClock
from oriel.logplex.datagrams import Datagrams, open_socket
from oriel.logplex.intake import Intake
from oriel.logplex.limits import Limits
from oriel.logplex.server import Server
from oriel.logplex.shelf import Shelf

SOCKET = Path("run", "logplex.sock")
"""Where the door is, in the data directory."""

SWITCH_INTERVAL_S = 0.0005
"""The sync thread counts and checksums; the loop must not wait for it long."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_log = logging.getLogger("oriel.logplex")


async def serve(
    data: Path,
    router_socket: socket.socket | None,
    *,
    clock: Clock | None = None,
    limits: Limits | None = None,
) -> None:
    """Run logplex on a data directory until cancelled. Takes over `router_socket`.

    Raises Conflict when another logplex has the directory.
    """
    clock, limits = clock or SystemClock(), limits or Limits()
    shelf = Shelf(data / "channels", limits, clock, _boot_id())
    async with contextlib.AsyncExitStack() as stack:
        if router_socket is not None:
            stack.callback(router_socket.close)
        stack.push_async_callback(shelf.close)
        await shelf.start()
        intake = Intake(data / "dynos", shelf, limits, clock)
        stack.callback(intake.close)
        for instance, reason in intake.open_all().items():
            _log.warning("the output of dyno %s is not read: %s", instance, reason)
        intake.start()
        datagrams = Datagrams(router_socket or open_socket(), shelf, limits, clock)
        stack.callback(datagrams.close)
        datagrams.start()
        server = Server(shelf=shelf, intake=intake, datagrams=datagrams, limits=limits, clock=clock)
        stack.push_async_callback(server.close)
        await server.start(data / SOCKET)
        await asyncio.get_running_loop().create_future()


def main(argv: Sequence[str] | None = None) -> int:
    """`oriel logplex --data DIR [--router-fd N]`; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="oriel logplex", description="Run the log router on a data directory."
    )
    parser.add_argument("--data", type=Path, required=True, help="the data directory")
    parser.add_argument(
        "--router-fd", type=int, help="an inherited UDP socket for the router's lines"
    )
    given = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    os.umask(0o077)
    _raise_file_limit()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        router = socket.socket(fileno=given.router_fd) if given.router_fd is not None else None
        if router is not None:
            router.set_inheritable(False)
        asyncio.run(_until_told(given.data, router))
    except faults.Fault as fault:
        _log.error("%s %s", fault.message, fault.hint)
        return 1
    except OSError as error:
        _log.error("logplex cannot start: %s", error)
        return 1
    return 0


async def _until_told(data: Path, router: socket.socket | None) -> None:
    task = asyncio.create_task(serve(data, router))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _raise_file_limit() -> None:
    """A FIFO, a few files a channel, two a reader: the soft limit is for programs with select."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return "unknown"


if __name__ == "__main__":
    raise SystemExit(main())
