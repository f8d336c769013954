"""Owns the log router's drains, as commands: where a channel is sent on to."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from oriel.cli import exits, render, terminal
from oriel.cli.commands.drains import counted, facts, listing
from oriel.cli.moments import typed
from oriel.cli.options import example, with_json
from oriel.clock import SystemClock, new_id
from oriel.control import moments
from oriel.house.alone.door import ask, known, with_data
from oriel.logplex.client import Logplex

HERE = "--data /var/lib/logs"
_drain = click.argument("drain", metavar="TOKEN|URL")
_channel = click.argument("channel")


@click.command(epilog=example(f"oriel logplex:drains shop {HERE}"))
@_channel
@with_data
@with_json
def drains(channel: str, data: Path, as_json: bool) -> None:
    """List the drains of a channel: where it is sent on to, and how far behind each is."""

    async def asked(client: Logplex) -> list[dict[str, Any]]:
        await known(client, channel)
        return [_shown(each) for each in await client.drains(channel)]

    found = ask(data, asked)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif not found:
        click.echo(f"{channel} has no drains.")
    else:
        render.emit(listing(found))


@click.command(
    epilog=example(f"oriel logplex:drains-add shop syslog+tls://logs.example.com:6514 {HERE}")
)
@_channel
@click.argument("url")
@with_data
def add(channel: str, url: str, data: Path) -> None:
    """Send what is said in a channel from now on to a URL. Prints the drain's token.

    The URL is one that `oriel drains:add` takes. This machine's own addresses are refused, unless
    `oriel logplex --allow-egress` allows them.
    """

    async def asked(client: Logplex) -> dict[str, Any]:
        await known(client, channel)
        return await client.add_drain(channel, url, new_id(), new_id())

    click.echo(ask(data, asked)["token"])


@click.command(epilog=example(f"oriel logplex:drains-remove shop d.80799d8b-2b8b-4b0e {HERE}"))
@_channel
@_drain
@with_data
def remove(channel: str, drain: str, data: Path) -> None:
    """Send to a drain no longer. What waits there is not sent."""
    ask(data, lambda client: client.remove_drain(channel, drain))
    click.echo("Drain removed.")


@click.command(epilog=example(f"oriel logplex:drains-info shop d.80799d8b-2b8b-4b0e {HERE}"))
@_channel
@_drain
@with_data
@with_json
def info(channel: str, drain: str, data: Path, as_json: bool) -> None:
    """Show a drain: its state, its receiver's last answer, how far behind it is."""
    found = _shown(ask(data, lambda client: client.drains(channel, drain))[0])
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(f"=== {terminal.shown(found['token'])}")
    render.emit(render.fields(facts(found, SystemClock().wall())))


@click.command(epilog=example(f"oriel logplex:drains-test shop d.80799d8b-2b8b-4b0e {HERE}"))
@_channel
@_drain
@with_data
def test(channel: str, drain: str, data: Path) -> int:
    """Send one line to a drain's receiver, and show what it answers."""
    said = ask(data, lambda client: client.test_drain(channel, drain, ""))
    verdict = "taken" if said["taken"] else "not taken"
    click.echo(f"{verdict}: {terminal.shown(said['answer'])} ({said['took_s']:.2f}s)")
    return exits.DONE if said["taken"] else exits.FAILED


@click.command(
    epilog=example(f"oriel logplex:drains-replay shop d.80799d8b-2b8b-4b0e --since 2h {HERE}")
)
@_channel
@_drain
@click.option("--since", required=True, metavar="WHEN", help="From then on: a time, an age (2h).")
@with_data
def replay(channel: str, drain: str, since: str, data: Path) -> None:
    """Send again what was said since then, and go on from there."""
    now = SystemClock().wall()
    moment = moments.moment(typed(since, now, local=False), now)
    since_us = max(0, int(moment.timestamp() * 1_000_000))
    said = ask(data, lambda client: client.replay_drain(channel, drain, since_us))
    click.echo(f"{counted(said['lines'], 'line')} to send.")


def _shown(it: dict[str, Any]) -> dict[str, Any]:
    """A drain as the API has it (docs/api.md), which is how it is drawn."""
    return {
        "id": it["id"],
        "token": it["token"],
        "url": it["url"],
        "created_at": _time(it["created_us"]),
        "oriel": {
            "state": it["state"],
            "since": _time(it["state_since_us"]),
            "answer": it["answer"],
            "answered_at": _time(it["answer_us"]) if it["answer_us"] else None,
            "lag": {
                "lines": it["lag_lines"],
                "bytes": it["lag_bytes"],
                "seconds": it["lag_s"],
            },
            "delivered": it["delivered"],
            "lost": it["lost"],
            "retries": it["retries"],
        },
    }


def _time(us: int) -> str:
    return datetime.fromtimestamp(us / 1_000_000, UTC).isoformat()
