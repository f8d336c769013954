"""Owns how a command asks the log router of a data directory. Must not know what is asked."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import click

from oriel import faults
from oriel.logplex import process
from oriel.logplex.client import Logplex

T = TypeVar("T")

with_data = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="ORIEL_DATA",
    required=True,
    help="The data directory.",
)


def ask(data: Path, question: Callable[[Logplex], Awaitable[T]]) -> T:
    """What the log router answers; raises Unavailable where none runs."""

    async def asked() -> T:
        client = Logplex(data.expanduser().absolute() / process.SOCKET)
        try:
            return await question(client)
        except faults.Unavailable as fault:
            if os.path.exists(data.expanduser() / process.SOCKET) and "running" not in str(fault):
                raise
            raise faults.Unavailable(
                f"No logplex runs on {data}.", hint=f"Start it: oriel logplex --data {data}"
            ) from fault
        finally:
            await client.close()

    return asyncio.run(asked())


def counted(number: int, noun: str) -> str:
    """`1 token`, `2 tokens`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


async def known(client: Logplex, channel: str) -> None:
    """Raises NotFound when there is no such channel: asking for it would make it."""
    if channel not in {each["name"] for each in await client.channels()}:
        raise faults.NotFound(
            f"There is no log channel {channel}.",
            hint="oriel logplex:channels lists them.",
            resource="channel",
        )
