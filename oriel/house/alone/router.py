"""Owns `oriel logplex`: the log router in the foreground, and how it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from oriel.cli.options import example, with_json
from oriel.egress import Rules
from oriel.house.alone.door import ask, counted, with_data
from oriel.logplex import process
from oriel.logplex.inlets.places import Place


def _place(name: str, metavar: str, words: str) -> Callable[[Callable[..., Any]], Any]:
    return click.option(f"--{name}", metavar=metavar, multiple=True, help=words)


@click.command(
    epilog=example(
        "oriel logplex --data /var/lib/logs --syslog :6514 --http :8601",
        "oriel logplex --data /var/lib/logs --unix-dgram /run/redis.log=shop/redis",
    )
)
@with_data
@_place("syslog", "HOST:PORT", "Listen for syslog over TCP.")
@_place("syslog-tls", "HOST:PORT", "The same over TLS.")
@_place("syslog-udp", "HOST:PORT", "Listen for syslog over UDP.")
@_place("unix", "PATH", "Listen at a local stream socket.")
@_place("unix-dgram", "PATH", "Listen at a local datagram socket, as /dev/log is one.")
@_place("http", "HOST:PORT", "Listen for POST /logs.")
@click.option("--unix-mode", metavar="MODE", default="600", help="Of the local sockets (600).")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="Certificate chain (PEM).")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Its private key.")
@click.option(
    "--allow-egress",
    metavar="NETWORK",
    multiple=True,
    help="Drains may connect there, also where it is this machine.",
)
def logplex(
    data: Path,
    unix_mode: str,
    tls_cert: Path | None,
    tls_key: Path | None,
    allow_egress: tuple[str, ...],
    **places: Any,
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
    Rules.parse(allow_egress)  # raises Invalid, before anything is begun
    where = data.expanduser().absolute()
    return process.run(where, lambda: inlets, allowed=allow_egress)


@click.command(epilog=example("oriel logplex:status --data /var/lib/logs"))
@with_data
@with_json
def status(data: Path, as_json: bool) -> None:
    """Show where the log router listens, and what became of what came."""
    found = ask(data, lambda client: client.status())
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(f"{counted(found['channels'], 'channel')} open.")
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
