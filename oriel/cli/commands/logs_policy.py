"""Owns what users set about an app's log: how much it keeps, what a flood costs; and checks it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from oriel.cli import ages, render, session
from oriel.cli.options import example, with_app, with_json, wrong
from oriel.client.address import below

FLOODS = ("drop", "block")

_SIZE = re.compile(r"(\d{1,15})\s*([kmgt]?)i?b?", re.IGNORECASE)
_AGE = re.compile(r"(\d{1,9})\s*([smhdw])", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@click.command(epilog=example("oriel logs:policy", "oriel logs:policy block"))
@click.argument("flood", required=False, type=click.Choice(FLOODS), metavar="[drop|block]")
@click.option("--rate", metavar="SIZE", help="Bytes a second of all processes, such as 16MB.")
@with_app
@with_json
def policy(
    flood: str | None, rate: str | None, app: str | None, remote: str | None, as_json: bool
) -> None:
    """Show or set what becomes of output that cannot be taken.

    drop: a process is held for 5 seconds, then its output is thrown away, counted, and told as
    L12. block: it is held for as long as it takes. Beyond --rate processes are slowed down.
    """
    name = session.app(app, remote)
    wish: dict[str, Any] = {}
    if flood:
        wish["flood"] = flood
    if rate:
        wish["rate_bytes"] = size_of(rate, "--rate")
    found = _asked(name, wish)
    if as_json:
        render.emit_json(found)
        return
    rate_now = shown_size(found["rate_bytes"])
    render.emit(render.fields((("Policy", found["flood"]), ("Rate", f"{rate_now} a second"))))


@click.command(epilog=example("oriel logs:retention", "oriel logs:retention --size 5GB --age 90d"))
@click.option("--size", metavar="SIZE", help="Keep at most this much, such as 500MB or 2GB.")
@click.option("--age", metavar="AGE", help="Keep at most this long, such as 12h, 30d or 8w.")
@with_app
@with_json
def retention(
    size: str | None, age: str | None, app: str | None, remote: str | None, as_json: bool
) -> None:
    """Show or set how much of an app's log is kept, and how long."""
    name = session.app(app, remote)
    wish: dict[str, Any] = {}
    if size:
        wish["max_bytes"] = size_of(size, "--size")
    if age:
        wish["max_age_s"] = seconds_of(age, "--age")
    found = _asked(name, wish)
    if as_json:
        render.emit_json(found)
        return
    since = "-"
    if found["since_us"]:
        since = ages.local(datetime.fromtimestamp(found["since_us"] / 1_000_000, UTC))
    render.emit(
        render.fields(
            (
                ("Keeps at most", shown_size(found["max_bytes"])),
                ("For at most", shown_age(found["max_age_s"])),
                ("Kept now", shown_size(found["bytes"])),
                ("Since", since),
            )
        )
    )


@click.command(epilog=example("oriel logs:check"))
@with_app
@with_json
def check(app: str | None, remote: str | None, as_json: bool) -> int:
    """Check that an app's log on disk is as it was written; 1 where it is not."""
    name = session.app(app, remote)
    found = session.client().post(below("oriel", "apps", name, "log-checks"), {}).data
    if as_json:
        render.emit_json(found)
    elif not found["damage"]:
        print(f"Nothing is damaged in {found['segments']} finished segments.")
    else:
        render.emit(damage_line(each) for each in found["damage"])
    return 1 if found["damage"] else 0


def damage_line(found: Mapping[str, Any]) -> str:
    """What was lost of one segment, in a sentence."""
    lines = "lines" if found["lines"] is None else f"{found['lines']} lines"
    when = ""
    if found["first_us"]:
        first, last = (
            ages.local(datetime.fromtimestamp(found[key] / 1_000_000, UTC), zone=False)
            for key in ("first_us", "last_us")
        )
        when = f" from {first} to {last}"
    return (
        f"Lost: {lines} ({found['bytes']} bytes){when}: "
        f"segment {found['segment']}, {found['what']}."
    )


def _asked(name: str, wish: Mapping[str, Any]) -> Any:
    path = below("oriel", "apps", name, "log-policy")
    client = session.client()
    return client.patch(path, dict(wish)).data if wish else client.get(path).data


def size_of(text: str, option: str) -> int:
    """Bytes in `500MB`, `2g` or `65536`: powers of 1024."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise wrong(f"{option} {text[:40]!r} is not a size. Type one like 500MB or 2GB.")
    power: int = _POWERS[match[2].lower()]
    return int(match[1]) << (10 * power)


def seconds_of(text: str, option: str) -> int:
    """Seconds in `12h`, `30d` or `8w`."""
    match = _AGE.fullmatch(text.strip())
    if not match:
        raise wrong(f"{option} {text[:40]!r} is not an age. Type one like 12h, 30d or 8w.")
    return int(match[1]) * _SECONDS[match[2].lower()]


def shown_size(size: int) -> str:
    """`1 GB`, `1.5 MB`, `300 bytes`."""
    for unit, power in (("TB", 4), ("GB", 3), ("MB", 2), ("kB", 1)):
        if size >= 1024**power:
            return f"{size / 1024**power:.1f}".removesuffix(".0") + f" {unit}"
    return f"{size} bytes"


def shown_age(age_s: int) -> str:
    """`30 days`, `12 hours`, `90 seconds`."""
    for unit, seconds in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if age_s >= seconds and age_s % seconds == 0:
            number = age_s // seconds
            return f"{number} {unit}{'' if number == 1 else 's'}"
    return f"{age_s} seconds"
