"""Owns `drains` and what belongs to it: where an app's log is sent on to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from oriel.cli import ages, exits, outcome, render, session, terminal
from oriel.cli.moments import typed
from oriel.cli.options import example, with_app, with_json
from oriel.client.address import below
from oriel.client.refusal import Refusal

NONE_YET = "{app} has no drains."


@click.command(epilog=example("oriel drains", "oriel drains --json"))
@with_app
@with_json
def drains(app: str | None, remote: str | None, as_json: bool) -> None:
    """List the drains of an app: where its log is sent on to, and how far behind each is."""
    name = session.app(app, remote)
    found = session.client().get(below("apps", name, "log-drains")).data
    if as_json:
        render.emit_json(found)
        return
    if not found:
        print(NONE_YET.format(app=name))
        return
    render.emit(listing(found))


@click.command(
    epilog=example(
        "oriel drains:add syslog+tls://logs.example.com:6514",
        "oriel drains:add 'https://user:password@logs.example.com/in?format=json'",
    )
)
@click.argument("url")
@with_app
def add(url: str, app: str | None, remote: str | None) -> None:
    """Send what an app and the platform say, from now on, to a URL.

    The URL is syslog://HOST:PORT, syslog+tls://, syslog+udp://, http:// or https://. A certificate
    is checked; #insecure at the end of the URL turns that off. To http and https, ?format=rfc5424
    sends strict frames and ?format=json a JSON object a line.
    """
    name = session.app(app, remote)
    client = session.client()
    made = outcome.step(
        f"Adding drain to {name}",
        lambda: client.post(below("apps", name, "log-drains"), {"url": url}).data,
    )
    outcome.done(made["token"])


@click.command(epilog=example("oriel drains:remove d.80799d8b-2b8b-4b0e-9d8b-0c6f3f0a6f01"))
@click.argument("drain", metavar="TOKEN|URL")
@with_app
def remove(drain: str, app: str | None, remote: str | None) -> None:
    """Send an app's log to a drain no longer. What waits there is not sent."""
    name = session.app(app, remote)
    client = session.client()
    outcome.step(
        f"Removing drain from {name}",
        lambda: client.delete(below("apps", name, "log-drains", drain)),
    )
    outcome.done()


@click.command(epilog=example("oriel drains:info d.80799d8b-2b8b-4b0e-9d8b-0c6f3f0a6f01"))
@click.argument("drain", required=False, metavar="[TOKEN|URL]")
@with_app
@with_json
def info(drain: str | None, app: str | None, remote: str | None, as_json: bool) -> None:
    """Show a drain: its state, its receiver's last answer, how far behind it is.

    The drain can be left out where there is only one.
    """
    name = session.app(app, remote)
    client = session.client()
    found = _chosen(client, name, drain)
    if as_json:
        render.emit_json(found)
        return
    print(f"=== {terminal.shown(found['token'])}")
    render.emit(render.fields(facts(found, client.now)))


@click.command(epilog=example("oriel drains:test d.80799d8b-2b8b-4b0e-9d8b-0c6f3f0a6f01"))
@click.argument("drain", required=False, metavar="[TOKEN|URL]")
@with_app
@with_json
def test(drain: str | None, app: str | None, remote: str | None, as_json: bool) -> int:
    """Send one line to a drain's receiver, and show what it answers.

    When it takes the line, a drain that was paused or waited goes on at once.
    """
    name = session.app(app, remote)
    client = session.client()
    token = _chosen(client, name, drain)["token"]
    path = below("oriel", "apps", name, "log-drains", token, "actions", "test")
    said = client.post(path).data
    if as_json:
        render.emit_json(said)
    else:
        verdict = "taken" if said["taken"] else "not taken"
        answer = terminal.shown(said["answer"])
        print(f"Sending a line to {token}... {verdict}: {answer} ({said['seconds']:.2f}s)")
    return exits.DONE if said["taken"] else exits.FAILED


@click.command(
    epilog=example(
        "oriel drains:replay d.80799d8b-2b8b-4b0e-9d8b-0c6f3f0a6f01 --since 2h",
        "oriel drains:replay d.80799d8b-2b8b-4b0e-9d8b-0c6f3f0a6f01 --since v74",
    )
)
@click.argument("drain", required=False, metavar="[TOKEN|URL]")
@click.option(
    "--since",
    required=True,
    metavar="WHEN",
    help="From then on: a time, an age (2h), a release (v74).",
)
@with_app
def replay(drain: str | None, since: str, app: str | None, remote: str | None) -> None:
    """Send again what was said since then, and go on from there.

    What the receiver has had of it, it gets twice. A paused drain goes on.
    """
    name = session.app(app, remote)
    client = session.client()
    moment = typed(since, datetime.now(UTC), local=False)
    token = _chosen(client, name, drain)["token"]
    path = below("oriel", "apps", name, "log-drains", token, "actions", "replay")
    said = outcome.step(f"Replaying {token}", lambda: client.post(path, {"since": moment}).data)
    outcome.done(counted(said["lines"], "line"))


def _chosen(client: Any, app: str, drain: str | None) -> dict[str, Any]:
    if drain:
        found: dict[str, Any] = client.get(below("apps", app, "log-drains", drain)).data
        return found
    there: list[dict[str, Any]] = client.get(below("apps", app, "log-drains")).data
    if len(there) == 1:
        return there[0]
    if not there:
        raise Refusal(
            NONE_YET.format(app=app), id="not_found", hint="Add one with: oriel drains:add URL"
        )
    raise Refusal(
        f"{app} has {len(there)} drains.", id="invalid_params", hint="Name one: oriel drains"
    )


def listing(found: Sequence[dict[str, Any]]) -> Iterable[str]:
    """The lines of a table of drains, each as the API has it."""
    columns = (
        render.Column("Drain", 38, 38),
        render.Column("State", 8, 8),
        render.Column("Behind", 14, 14, most=40),
        render.Column("URL", 30, 30, most=2048, least=30),
    )
    rows = [(each["token"], _own(each)["state"], _behind(each), each["url"]) for each in found]
    return render.table(columns, rows)


def facts(it: dict[str, Any], now: datetime) -> list[tuple[str, str]]:
    """What there is to know of a drain, line by line."""
    own = _own(it)
    answer = own["answer"] or "none yet"
    if own["answered_at"]:
        answer = f"{answer} ({ages.ago(ages.parse(own['answered_at']), now)})"
    return [
        ("URL", it["url"]),
        ("State", f"{own['state']} for {ages.age(ages.parse(own['since']), now)}"),
        ("Answer", answer),
        ("Behind", _behind(it)),
        ("Delivered", counted(own["delivered"], "line")),
        ("Lost", counted(own["lost"], "line")),
        ("Retries", str(own["retries"])),
        ("Added", ages.ago(ages.parse(it["created_at"]), now)),
    ]


def _behind(it: dict[str, Any]) -> str:
    lag = _own(it)["lag"]
    if not lag["lines"]:
        return "nothing"
    return f"{counted(lag['lines'], 'line')}, {_size(lag['bytes'])}, {lag['seconds']:.0f}s"


def _size(size: int) -> str:
    for unit, one in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= one:
            return f"{size / one:.1f} {unit}"
    return f"{size} B"


def _own(it: dict[str, Any]) -> dict[str, Any]:
    own: dict[str, Any] = it["oriel"]
    return own


def counted(number: int, noun: str) -> str:
    """`1 line`, `1,234 lines`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
