"""Owns `releases`, what is seen of one, and `rollback`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from oriel.cli import ages, exits, outcome, render, session, terminal
from oriel.cli.options import example, with_app, with_json, wrong
from oriel.client.address import below
from oriel.client.refusal import Refusal

REL = render.Column("Rel", 4, 4, most=8)
CHANGE = render.Column("Change", 30, 22, least=12)
BY = render.Column("By", 20, 10, least=8)
WHEN = render.Column("When", 10, 10, most=25)
NARROW = 85
"""Columns that a time with its zone needs."""

COLOURS = {"failed": terminal.RED, "pending": terminal.YELLOW, "current": terminal.GREEN}


@click.command(epilog=example("oriel releases", "oriel releases -n 50 -a foobaz"))
@click.option(
    "-n",
    "--num",
    "most",
    type=click.IntRange(1, 10_000),
    default=15,
    metavar="N",
    help="How many of the newest (15).",
)
@with_app
@with_json
def releases(most: int, app: str | None, remote: str | None, as_json: bool) -> None:
    """List what was changed, by whom and when, newest first."""
    name = session.app(app, remote)
    client = session.client()
    found = outcome.newest(client, name, most)
    if as_json:
        render.emit_json(found)
        return
    width = terminal.width()
    marks = [_mark(each, place) for place, each in enumerate(found)]
    rows = [_row(each, mark, client.now, width) for each, mark in zip(found, marks, strict=True)]
    lines = render.table((REL, CHANGE, BY, WHEN), rows, width)
    render.emit([*lines[:2], *map(_coloured, lines[2:], marks)])
    if found and not any(each.get("current") for each in found):
        terminal.note(f"The current release is older than these: oriel releases -n {most * 4}")


def _row(release: dict[str, Any], mark: str, now: datetime, width: int | None) -> tuple[str, ...]:
    said = release["description"] or ""
    if mark:
        # The mark is what must be seen, so the text before it gives way.
        said = f"{render.cut(terminal.shown(said), CHANGE.most - len(mark) - 3)} ({mark})"
    zone = width is None or width >= NARROW
    by = (release.get("user") or {}).get("email") or ""
    return f"v{release['version']}", said, by, ages.ago(_at(release), now, zone=zone)


def _mark(release: dict[str, Any], place: int) -> str:
    """What sets a release apart from one that simply is, or once was, in force."""
    status = release.get("status") or "succeeded"
    if status != "succeeded":
        return str(status)
    return "current" if release.get("current") and place > 0 else ""


def _coloured(line: str, mark: str) -> str:
    colour = COLOURS.get(mark)
    if not colour:
        return line
    return line.replace(f"({mark})", terminal.painted(f"({mark})", colour), 1)


def _at(release: dict[str, Any]) -> datetime:
    return ages.parse((release.get("oriel") or {}).get("at") or release["created_at"])


@click.command(epilog=example("oriel releases:info", "oriel releases:info v74"))
@click.argument("version", required=False, metavar="[vN]")
@with_app
@with_json
def info(version: str | None, app: str | None, remote: str | None, as_json: bool) -> None:
    """Show a release (the newest one) and the config it holds."""
    name = session.app(app, remote)
    client = session.client()
    number = _number(version) if version else _newest_number(name)
    path = ("apps", name, "releases", number)
    release = client.get(below(*path)).data
    if as_json:
        render.emit_json(release)
        return
    config = client.get(below(*path, "config-vars")).data
    print(f"=== Release v{release['version']}")
    render.emit(render.fields(_facts(release, client.now)))
    if config:
        render.emit(["Config:", *render.assignments(config, "  ")])


def _facts(release: dict[str, Any], now: datetime) -> list[tuple[str, str]]:
    own = release.get("oriel") or {}
    status = release.get("status") or "succeeded"
    reason = own.get("reason")
    facts = [
        ("Change", release["description"] or ""),
        ("By", (release.get("user") or {}).get("email") or ""),
        ("When", ages.ago(_at(release), now)),
        ("Addons", ", ".join(release.get("addon_plan_names") or ())),
        ("Commit", own.get("commit") or ""),
        ("Copy of", f"v{own['copy_of']}" if own.get("copy_of") else ""),
        ("Status", f"{status}: {reason}" if reason else status),
        *((f"  {type_}", command) for type_, command in (own.get("process_types") or {}).items()),
    ]
    if status == "succeeded":
        facts[6] = ("Status", "current" if release.get("current") else "")
    return [(label, value) for label, value in facts if value]


@click.command(epilog=example("oriel releases:diff v73 v74", "oriel releases:diff v74 --reveal"))
@click.argument("versions", nargs=-1, metavar="[vN [vM]]")
@click.option("--reveal", is_flag=True, help="Show config values, which are masked otherwise.")
@with_app
@with_json
def diff(
    versions: tuple[str, ...], reveal: bool, app: str | None, remote: str | None, as_json: bool
) -> None:
    """Show what changed from one release to another; with one, from the release before it."""
    if len(versions) > 2:
        raise wrong("Two releases at most: oriel releases:diff v73 v74")
    name = session.app(app, remote)
    client = session.client()
    numbers = [_number(each) for each in versions] or [_newest_number(name)]
    if len(numbers) == 1:
        numbers.insert(0, str(max(1, int(numbers[0]) - 1)))
    path = below("oriel", "apps", name, "releases", numbers[0], "diff", numbers[1])
    found = client.get(path + ("?reveal=true" if reveal else "")).data
    if as_json:
        render.emit_json(found)
        return
    print(f"=== v{numbers[0]} to v{numbers[1]}")
    lines = _differences(found)
    render.emit(lines)
    if not lines:
        terminal.note("They hold the same code and config.")


def _differences(found: dict[str, Any]) -> list[str]:
    lines = []
    before, after = _pair(found.get("commits"))
    if before != after:
        lines += ["Commit:", f"  {before or 'none'} -> {after or 'none'}"]
    for title, key in (("Process types", "process_types"), ("Config", "config")):
        part = found.get(key) or {}
        marked = [("-", name, value) for name, value in (part.get("removed") or {}).items()]
        for name, value in (part.get("changed") or {}).items():
            marked += zip("-+", (name, name), _pair(value), strict=True)
        marked += [("+", name, value) for name, value in (part.get("added") or {}).items()]
        if marked:
            lines.append(f"{title}:")
        lines += [f"  {sign} {name} => {terminal.shown(str(text))}" for sign, name, text in marked]
    return lines


def _pair(value: Any) -> tuple[str, str]:
    if isinstance(value, dict):
        return str(value.get("before") or ""), str(value.get("after") or "")
    if isinstance(value, list) and len(value) == 2:
        return str(value[0] or ""), str(value[1] or "")
    return "", ""


@click.command(epilog=example("oriel releases:verify"))
@with_app
@with_json
def verify(app: str | None, remote: str | None, as_json: bool) -> int:
    """Check that no release was changed, removed or cut off since it was made."""
    name = session.app(app, remote)
    found = session.client().get(below("oriel", "apps", name, "verification")).data
    if as_json:
        render.emit_json(found)
    elif found["ok"]:
        print(f"{name}: {found['releases']} releases, each as it was made.")
    else:
        render.emit(terminal.shown(problem) for problem in found["problems"])
        terminal.complain(f"The releases of {name} are not what they were.")
    return exits.DONE if found["ok"] else exits.NOT_VERIFIED


@click.command(epilog=example("oriel rollback", "oriel rollback v73"))
@click.argument("version", required=False, metavar="[vN]")
@with_app
@with_json
def rollback(version: str | None, app: str | None, remote: str | None, as_json: bool) -> None:
    """Go back to the code and config of an earlier release (the one before this)."""
    number = _number(version) if version else ""
    name = session.app(app, remote)
    client = session.client()
    path = below("apps", name, "releases")
    body = {"release": f"v{number}"} if number else {}
    if as_json:
        made = client.post(path, body).data
        render.emit_json(made)
    elif number:
        made = outcome.step(_going_back(number), lambda: client.post(path, body).data)
        outcome.released(client, name, made)
    else:
        # Which one it will be, the server says with its answer.
        made = client.post(path, body).data
        target = str(made["description"]).rpartition("v")[2]
        print(f"{_going_back(target)}...", end="")
        outcome.released(client, name, made)
    outcome.undo_hint(made, f" -a {name}" if app else "")


def _going_back(number: str) -> str:
    return f"-----> Rolling back to v{number}"


def _newest_number(name: str) -> str:
    found = outcome.newest(session.client(), name, 1)
    if not found:
        raise Refusal(f"{name} has no release yet.", id="not_found")
    return str(found[0]["version"])


def _number(text: str) -> str:
    """`v74` and `74` as `74`."""
    digits = text[1:] if text[:1] in ("v", "V") else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 9 and int(digits)):
        raise wrong(f"{terminal.shown(text)} is not a release: use a number, as in v74")
    return str(int(digits))
