"""Owns looking at builds."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

import click

from oriel.cli import ages, render, session, terminal
from oriel.cli.options import example, with_app, with_json
from oriel.client.address import below
from oriel.client.refusal import Refusal
from oriel.client.wire import Client

MOST = 200
SHOWN = 8
"""How much of an id or a commit is shown; as much is enough to name one."""

BUILD = render.Column("Build", 8, 8)
COMMIT = render.Column("Commit", 7, 7)
STATUS = render.Column("Status", 20, 10, most=22, least=9)
BY = render.Column("By", 20, 10, least=8)
WHEN = render.Column("When", 10, 10, most=25)


@click.command(epilog=example("oriel builds", "oriel builds -n 50"))
@click.option(
    "-n",
    "--num",
    "most",
    type=click.IntRange(1, MOST),
    default=15,
    metavar="N",
    help="How many of the newest (15).",
)
@with_app
@with_json
def builds(most: int, app: str | None, remote: str | None, as_json: bool) -> None:
    """List the builds of an app, newest first."""
    name = session.app(app, remote)
    client = session.client()
    found = _newest(client, name, most)
    if as_json:
        render.emit_json(found)
        return
    if not found:
        terminal.note(f"Nothing was pushed to {name} yet.")
        return
    rows = [_row(each, client.now) for each in found]
    render.emit(render.table((BUILD, COMMIT, STATUS, BY, WHEN), rows, terminal.width()))


@click.command(epilog=example("oriel builds:info", "oriel builds:info 0b8c41d2"))
@click.argument("build", required=False, metavar="[BUILD]")
@with_app
@with_json
def info(build: str | None, app: str | None, remote: str | None, as_json: bool) -> None:
    """Show a build (the newest one) and what it said."""
    name = session.app(app, remote)
    client = session.client()
    found = _find(client, name, build)
    if as_json:
        render.emit_json(found)
        return
    print(f"=== Build {terminal.shown(found['id'])}")
    render.emit(render.fields(_facts(found, client.now)))
    sys.stdout.flush()
    _transcript(client, name, found["id"])


def _transcript(client: Client, name: str, build: str) -> None:
    """What the build said, as it was said; of one that still runs, so far."""
    target = below("apps", name, "builds", build, "output")
    try:
        text = client.get(target).data
    except Refusal as refusal:
        if refusal.status != 404:
            raise
        terminal.note("It has no transcript.")
        return
    if text:
        shown = text if not sys.stdout.isatty() else terminal.shown(text, keep="\n\t")
        print(f"\n{shown}", end="" if shown.endswith("\n") else "\n")


def _find(client: Client, name: str, wanted: str | None) -> dict[str, Any]:
    if wanted and len(wanted) == 36:
        found: dict[str, Any] = client.get(below("apps", name, "builds", wanted)).data
        return found
    fitting = [one for one in _newest(client, name) if one["id"].startswith(wanted or "")]
    if not fitting:
        raise Refusal(
            f"{name} has no {'such ' if wanted else ''}build.",
            id="not_found",
            hint=f"See what there is: oriel builds -a {name}",
        )
    if wanted and len(fitting) > 1:
        raise Refusal(f"{len(fitting)} builds begin with that.", id="invalid_params")
    return fitting[0]


def _newest(client: Client, name: str, most: int = MOST) -> list[dict[str, Any]]:
    wanted = f"id ..; max={most}, order=desc"
    found = client.listing(below("apps", name, "builds"), range=wanted, most=most)
    return sorted(found, key=_at, reverse=True)


def _row(build: dict[str, Any], now: datetime) -> tuple[str, ...]:
    commit = (build.get("source_blob") or {}).get("version") or ""
    by = (build.get("user") or {}).get("email") or ""
    return (
        build["id"][:SHOWN],
        commit[:7],
        _status(build),
        by,
        ages.ago(_at(build), now, zone=False),
    )


def _status(build: dict[str, Any]) -> str:
    release = (build.get("release") or {}).get("version")
    return f"{build['status']}, v{release}" if release else str(build["status"])


def _facts(build: dict[str, Any], now: datetime) -> list[tuple[str, str]]:
    facts = [
        ("Commit", (build.get("source_blob") or {}).get("version") or ""),
        ("By", (build.get("user") or {}).get("email") or ""),
        ("When", ages.ago(_at(build), now)),
        ("Status", _status(build)),
        ("Message", build.get("message") or ""),
    ]
    return [(label, value) for label, value in facts if value]


def _at(build: dict[str, Any]) -> datetime:
    return ages.parse((build.get("oriel") or {}).get("at") or build["created_at"])
