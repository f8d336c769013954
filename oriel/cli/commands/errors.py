"""Owns `errors`: what went wrong with an app, summed up."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from oriel.cli import ages, render, session, terminal
from oriel.cli.options import example, with_app, with_json
from oriel.client.address import below

CODE = render.Column("Code", 4, 4, most=4)
COUNT = render.Column("Count", 5, 5, most=9)
WHAT = render.Column("What", 34, 20, least=12)
LAST = render.Column("Last", 14, 10, most=25)
WHERE = render.Column("Where", 16, 10, least=8)


@click.command(
    epilog=example("oriel errors", "oriel errors --since 1h", "oriel errors --since v74")
)
@click.option(
    "--since",
    metavar="WHEN",
    default="24h",
    help="Since when: an age (1h), a time, or a release (v74). 24h if nothing is said.",
)
@with_app
@with_json
def errors(since: str, app: str | None, remote: str | None, as_json: bool) -> None:
    """Sum up an app's error codes: what, how often, when last, which dyno."""
    name = session.app(app, remote)
    client = session.client()
    found = client.get(
        f"{below('oriel', 'apps', name, 'errors')}?since={quote(since, safe='')}"
    ).data
    if as_json:
        render.emit_json(found)
        return
    if not found["errors"]:
        print(f"No errors since {ages.local(ages.parse(found['since']))}.")
        return
    rows = [
        (
            each["code"],
            f"{each['count']:,}",
            each["description"],
            ages.ago(ages.parse(each["last"]), client.now, zone=False),
            _where(each),
        )
        for each in found["errors"]
    ]
    render.emit(render.table((CODE, COUNT, WHAT, LAST, WHERE), rows, terminal.width()))
    if not found["whole"]:
        terminal.note("There are more: only the newest are counted. Try a shorter --since.")
    if any(each["code"].startswith("H") for each in found["errors"]):
        terminal.note(f"See the requests with: oriel logs --ps router --since {since}")


def _where(each: dict[str, Any]) -> str:
    """The dynos, the busiest first, and an example of a path."""
    dynos = ", ".join(each["dynos"])
    return " ".join(part for part in (dynos, each["path"] or "") if part) or "-"
