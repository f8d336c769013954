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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from oriel import faults
from oriel.clock import Clock, SystemClock
from oriel.egress import Dialer, Rules
from oriel.logplex.catch import Catch
from oriel.logplex.datagrams import Datagrams, open_socket
from oriel.logplex.drains.place import Places
from oriel.logplex.drains.roster import Roster
from oriel.logplex.inlets.bounds import Bounds
from oriel.logplex.inlets.desk import Desk
from oriel.logplex.inlets.doors import Doors
from oriel.logplex.inlets.places import KINDS, Place, tls_context
from oriel.logplex.intake import Intake
from oriel.logplex.limits import Limits
from oriel.logplex.losses import Losses
from oriel.logplex.retention import Retention
from oriel.logplex.server import Server
from oriel.logplex.shelf import Shelf
from oriel.logplex.tokens import Tokens
from oriel.logplex.turns import Turns
from oriel.logplex.upkeep import Upkeep

SOCKET = Path("run", "logplex.sock")
"""Where the door is, in the data directory."""

TOKENS = Path("logplex", "tokens")
"""Where the tokens are."""

CATCH = Path("logplex", "router-lines")
"""What is received of the router's lines and not stored yet."""

LOSSES = Path("logplex", "router-losses")
"""How many of them wait in memory, are lost, or were told of."""

DRAINS = Path("drains")
"""Where the drains are."""

SWITCH_INTERVAL_S = 0.0005
"""The sync thread counts and checksums; the loop must not wait for it long."""

_FILES_OF_A_CHANNEL = 4
_OPEN_CHANNELS_MIN, _OPEN_CHANNELS_MAX = 64, 16 * 1024
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_log = logging.getLogger("oriel.logplex")


@dataclass(frozen=True, slots=True)
class Inlets:
    """Where a logplex that stands alone listens, besides its own socket."""

    places: tuple[Place, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    bounds: Bounds | None = None


async def serve(
    data: Path,
    router_socket: socket.socket | None,
    *,
    clock: Clock | None = None,
    limits: Limits | None = None,
    inlets: Inlets | None = None,
    allowed: Sequence[str] = (),
) -> None:
    """Run logplex on a data directory until cancelled. Takes over `router_socket`.

    With `inlets` it stands alone: it listens where they say, and has no router's socket of its
    own. Drains may connect to networks that are `allowed`, also where `egress` would refuse.
    Raises Conflict when another logplex has the directory.
    """
    clock, limits = clock or SystemClock(), limits or Limits(open_channels=_open_channels())
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
        retention = Retention(shelf, limits, clock)
        stack.push_async_callback(retention.close)
        retention.start()
        datagrams = None
        if router_socket or not inlets:
            catch = Catch(data / CATCH, _boot_id())
            losses = Losses(data / LOSSES, _boot_id())
            sock = router_socket or open_socket()
            datagrams = Datagrams(sock, shelf, limits, clock, catch, losses)
            stack.callback(datagrams.close)
            datagrams.start()
        tokens = Tokens(data / TOKENS)
        stack.callback(tokens.close)
        if tokens.damaged_lines:
            _log.warning("%d lines of the tokens are damaged", tokens.damaged_lines)
        doors = _doors(inlets or Inlets(), shelf, tokens, clock, limits)
        stack.push_async_callback(doors.close)
        await doors.start()
        dialer = Dialer(Rules.parse(allowed))
        stack.callback(dialer.close)
        drains = Roster(Places(data / DRAINS), shelf, Turns(), dialer, clock)
        stack.push_async_callback(drains.close)
        drains.start()
        server = Server(
            shelf=shelf,
            intake=intake,
            datagrams=datagrams,
            limits=limits,
            clock=clock,
            desk=Desk(shelf, tokens),
            doors=doors,
            drains=drains,
            upkeep=Upkeep(shelf, intake, retention),
        )
        stack.push_async_callback(server.close)
        await server.start(data / SOCKET)
        # Last: who finds nobody at the door may take FIFOs over (`overflow`).
        intake.start()
        for each in doors.status() if inlets else []:
            _log.info("listening at %s (%s) %s", each["address"], each["kind"], each["source"])
        await asyncio.get_running_loop().create_future()


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m oriel.logplex.process --data DIR [--router-fd N]`; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="oriel logplex", description="Run the log router on a data directory."
    )
    parser.add_argument("--data", type=Path, required=True, help="the data directory")
    parser.add_argument(
        "--router-fd", type=int, help="an inherited UDP socket for the router's lines"
    )
    for kind in KINDS:
        parser.add_argument(f"--{kind}", action="append", default=[], help="listen there")
    parser.add_argument("--tls-cert", type=Path, help="certificate chain (PEM)")
    parser.add_argument("--tls-key", type=Path, help="its private key")
    parser.add_argument(
        "--allow-egress", action="append", default=[], help="a network that drains may connect to"
    )
    given = parser.parse_args(argv)
    typed = [(kind, text) for kind in KINDS for text in getattr(given, kind.replace("-", "_"))]
    return run(
        given.data,
        lambda: (
            Inlets(
                tuple(Place.parse(kind, text) for kind, text in typed),
                given.tls_cert,
                given.tls_key,
            )
            if typed
            else None
        ),
        given.router_fd,
        given.allow_egress,
    )


def run(
    data: Path,
    inlets: Callable[[], Inlets | None] | None = None,
    router_fd: int | None = None,
    allowed: Sequence[str] = (),
) -> int:
    """Run logplex as this process, until it is told to stop; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    os.umask(0o077)
    _raise_file_limit()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        router = socket.socket(fileno=router_fd) if router_fd is not None else None
        if router is not None:
            router.set_inheritable(False)
        asyncio.run(_until_told(data, router, inlets() if inlets else None, allowed))
    except faults.Fault as fault:
        _log.error("%s %s", fault.message, fault.hint)
        return 1
    except OSError as error:
        _log.error("logplex cannot start: %s", error)
        return 1
    return 0


def _doors(inlets: Inlets, shelf: Shelf, tokens: Tokens, clock: Clock, limits: Limits) -> Doors:
    tls = None
    if inlets.certificate and inlets.key:
        tls = tls_context(inlets.certificate, inlets.key)
    return Doors(
        inlets.places,
        shelf=shelf,
        tokens=tokens,
        clock=clock,
        limits=limits,
        tls=tls,
        bounds=inlets.bounds,
    )


async def _until_told(
    data: Path,
    router: socket.socket | None,
    inlets: Inlets | None = None,
    allowed: Sequence[str] = (),
) -> None:
    task = asyncio.create_task(serve(data, router, inlets=inlets, allowed=allowed))
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


def _open_channels() -> int:
    """How many channels may be open at once: half of the descriptors are for everything else."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(_OPEN_CHANNELS_MIN, min(_OPEN_CHANNELS_MAX, soft // 2 // _FILES_OF_A_CHANNEL))


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return "unknown"


if __name__ == "__main__":
    raise SystemExit(main())
