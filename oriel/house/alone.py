"""Owns the commands of a log router that runs alone, without a platform: `oriel logplex`, and
those that speak to its socket. Must not know segments or frames.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from oriel import faults
from oriel.logplex import process
from oriel.logplex.client import Logplex, Query
from oriel.logplex.inlets.places import Place

T = TypeVar("T")

_data = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="ORIEL_DATA",
    required=True,
    help="The data directory.",
)
_json = click.option("-j", "--json", "as_json", is_flag=True, help="Print JSON.")


def _example(*commands: str) -> str:
    return "\b\nExample:\n" + "\n".join(f"  {command}" for command in commands)


def _place(name: str, metavar: str, words: str) -> Callable[[Callable[..., Any]], Any]:
    return click.option(f"--{name}", metavar=metavar, multiple=True, help=words)


@click.command(
    epilog=_example(
        "oriel logplex --data /var/lib/logs --syslog :6514 --http :8601",
        "oriel logplex --data /var/lib/logs --unix-dgram /run/redis.log=shop/redis",
    )
)
@_data
@_place("syslog", "HOST:PORT", "Listen for syslog over TCP.")
@_place("syslog-tls", "HOST:PORT", "The same over TLS.")
@_place("syslog-udp", "HOST:PORT", "Listen for syslog over UDP.")
@_place("unix", "PATH", "Listen at a local stream socket.")
@_place("unix-dgram", "PATH", "Listen at a local datagram socket, as /dev/log is one.")
@_place("http", "HOST:PORT", "Listen for POST /logs.")
@click.option("--unix-mode", metavar="MODE", default="600", help="Of the local sockets (600).")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="Certificate chain (PEM).")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Its private key.")
def logplex(
    data: Path, unix_mode: str, tls_cert: Path | None, tls_key: Path | None, **places: Any
) -> int:
    """Run only the log router, in the foreground, on a data directory of its own.

    It listens nowhere but at its own socket in the data directory, unless told to. A port
    without a host is on loopback. Each option may be given several times. A line says by its
    token into which channel it goes; behind ADDRESS=CHANNEL/NAME all that comes is that
    source's, as for senders that cannot say a token.
    """
    try:
        mode = int(unix_mode, 8)
    except ValueError:
        raise click.UsageError(f"{unix_mode} is no mode of a file, such as 660.") from None
    typed = [
        Place.parse(name.replace("_", "-"), text, mode & 0o777)
        for name, texts in places.items()
        for text in texts
    ]
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together.")
    if any(place.kind == "syslog-tls" for place in typed) and tls_cert is None:
        raise click.UsageError("--syslog-tls needs --tls-cert and --tls-key.")
    inlets = process.Inlets(tuple(typed), tls_cert, tls_key)
    return process.run(data.expanduser().absolute(), lambda: inlets)


@click.command(epilog=_example("oriel logplex:channels --data /var/lib/logs"))
@_data
@_json
def channels(data: Path, as_json: bool) -> None:
    """List the log channels."""
    found = _ask(data, lambda client: client.channels())
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for each in found:
        click.echo(f"{each['name']}  ({_counted(each['tokens'], 'token')})")


@click.command(epilog=_example("oriel logplex:create shop --data /var/lib/logs"))
@click.argument("channel")
@_data
def create(channel: str, data: Path) -> None:
    """Make a log channel."""
    made = _ask(data, lambda client: client.create_channel(channel))
    click.echo(f"Channel {channel} {'created' if made else 'is there already'}.")


@click.command(epilog=_example("oriel logplex:destroy shop --data /var/lib/logs --confirm shop"))
@click.argument("channel")
@click.option("-c", "--confirm", metavar="CHANNEL", help="The channel's name once more.")
@_data
def destroy(channel: str, confirm: str | None, data: Path) -> None:
    """Remove a log channel, with its tokens and all that was said in it."""
    if confirm != channel:
        raise faults.ConfirmationNeeded(
            f"All that was said in {channel} would be gone.",
            hint=f"To remove it: oriel logplex:destroy {channel} --confirm {channel}",
        )
    _ask(data, lambda client: client.forget(channel))
    click.echo(f"Channel {channel} removed.")


@click.command(epilog=_example("oriel logplex:tokens shop --data /var/lib/logs"))
@click.argument("channel", required=False)
@_data
@_json
def tokens(channel: str | None, data: Path, as_json: bool) -> None:
    """List the tokens of a channel, or all."""
    found = _ask(data, lambda client: client.tokens(channel))
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for each in found:
        click.echo(f"{each['id']}  {each['channel']}  {each['name']}")


@click.command(epilog=_example("oriel logplex:tokens-add shop redis --data /var/lib/logs"))
@click.argument("channel")
@click.argument("name")
@_data
def add_token(channel: str, name: str, data: Path) -> None:
    """Let a source write into a channel, under a name. Prints the token alone."""
    made = _ask(data, lambda client: client.create_token(channel, name))
    click.echo(made["id"])


@click.command(epilog=_example("oriel logplex:tokens-remove t.8d3e... --data /var/lib/logs"))
@click.argument("token")
@_data
def remove_token(token: str, data: Path) -> None:
    """Take a token back: who has it writes no more."""
    if not _ask(data, lambda client: client.revoke_token(token)):
        raise faults.NotFound("There is no such token.", resource="token")
    click.echo("Token removed.")


@click.command(epilog=_example("oriel logplex:logs shop --tail --data /var/lib/logs"))
@click.argument("channel")
@click.option("-n", "--num", "lines", type=click.IntRange(0, 10_000_000), help="How many (100).")
@click.option("-t", "--tail", is_flag=True, help="And each new one.")
@click.option("-p", "--ps", metavar="PS", multiple=True, help="Only of that process or type.")
@click.option("-s", "--source", metavar="NAME", multiple=True, help="Only of that source.")
@click.option("-j", "--json", "as_json", is_flag=True, help="One JSON object a line.")
@_data
def logs(
    channel: str,
    lines: int | None,
    tail: bool,
    ps: tuple[str, ...],
    source: tuple[str, ...],
    as_json: bool,
    data: Path,
) -> None:
    """Show the last lines of a channel."""
    query = Query(
        lines=100 if lines is None else lines,
        tail=tail,
        ps=ps,
        sources=source,
        format="json" if as_json else "text",
    )

    async def show(client: Logplex) -> None:
        known = {each["name"] for each in await client.channels()}
        if channel not in known:
            raise faults.NotFound(
                f"There is no log channel {channel}.",
                hint="oriel logplex:channels lists them.",
                resource="channel",
            )
        async for batch in client.read(channel, query):
            sys.stdout.buffer.write(batch.text)
            sys.stdout.buffer.flush()

    sys.stdout.flush()
    _ask(data, show)


@click.command(epilog=_example("oriel logplex:status --data /var/lib/logs"))
@_data
@_json
def status(data: Path, as_json: bool) -> None:
    """Show where the log router listens, and what became of what came."""
    found = _ask(data, lambda client: client.status())
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(f"{_counted(found['channels'], 'channel')} open.")
    for door in found["inlets"]:
        click.echo(f"{door['kind']} {door['address']} {door['source']}".rstrip())
        told = [f"{name.replace('_', ' ')} {door[name]}" for name in _COUNTS if door[name]]
        click.echo(f"    {', '.join(told) or 'nothing yet'}")


_COUNTS = (
    "frames",
    "malformed",
    "unknown_token",
    "cut_bytes",
    "dropped",
    "kernel_dropped",
    "connections",
    "refused",
    "silent",
)


def _ask(data: Path, question: Callable[[Logplex], Awaitable[T]]) -> T:
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


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
