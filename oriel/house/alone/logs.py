"""Owns `oriel logplex:logs`: what was said in a channel, or the part of it that is asked for."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import click

from oriel.cli.moments import typed
from oriel.cli.options import example, wrong
from oriel.clock import SystemClock
from oriel.control import moments
from oriel.house.alone.door import ask, known, with_data
from oriel.logplex.client import Logplex, Query

LINES_DEFAULT = 100


@click.command(
    epilog=example(
        "oriel logplex:logs shop --tail --data /var/lib/logs",
        "oriel logplex:logs shop --since 2h --grep Error --data /var/lib/logs",
    )
)
@click.argument("channel")
@click.option("-n", "--num", "lines", type=click.IntRange(0, 10_000_000), help="How many (100).")
@click.option("-t", "--tail", is_flag=True, help="And each new one.")
@click.option("-p", "--ps", metavar="PS", multiple=True, help="Only of that process or type.")
@click.option("-s", "--source", metavar="NAME", multiple=True, help="Only of that source.")
@click.option("--since", metavar="WHEN", help="Only from then on: a time or an age (2h).")
@click.option("--until", metavar="WHEN", help="Only up to then.")
@click.option("-g", "--grep", metavar="TEXT", default="", help="Only lines that hold this text.")
@click.option("--regex", is_flag=True, help="--grep is a regular expression.")
@click.option("--raw", is_flag=True, help="Control characters as they are, also on a terminal.")
@click.option("-j", "--json", "as_json", is_flag=True, help="One JSON object a line.")
@with_data
def logs(
    channel: str,
    lines: int | None,
    tail: bool,
    ps: tuple[str, ...],
    source: tuple[str, ...],
    since: str | None,
    until: str | None,
    grep: str,
    regex: bool,
    raw: bool,
    as_json: bool,
    data: Path,
) -> None:
    """Show the last lines of a channel, or a part of it."""
    if regex and not grep:
        raise wrong("--regex says how --grep is meant; give --grep too.")
    if tail and until:
        raise wrong("A tail has no end: leave out --until, or --tail.")
    now = SystemClock().wall()
    query = Query(
        lines=LINES_DEFAULT if lines is None and not since else lines,
        tail=tail,
        ps=ps,
        sources=source,
        format="json" if as_json else "text",
        since_us=_us(moments.moment(typed(since, now, local=False), now)) if since else 0,
        until_us=_us(moments.end_of(typed(until, now, local=False), now)) if until else None,
        grep=grep,
        regex=regex,
        raw=raw,
    )

    async def show(client: Logplex) -> None:
        await known(client, channel)
        async for batch in client.read(channel, query):
            sys.stdout.buffer.write(batch.text)
            sys.stdout.buffer.flush()

    sys.stdout.flush()
    ask(data, show)


def _us(moment: datetime) -> int:
    return max(0, int(moment.timestamp() * 1_000_000))
