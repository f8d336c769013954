"""Owns an app's idling: shown, set, switched off."""

from __future__ import annotations

from typing import Any

import click

from oriel.cli import outcome, render, session
from oriel.cli.commands.logs_policy import seconds_of, shown_age
from oriel.cli.options import example, with_app, with_json, wrong
from oriel.client.address import below


@click.command(epilog=example("oriel ps:idle", "oriel ps:idle --after 30m", "oriel ps:idle --off"))
@click.option("--after", metavar="AGE", help="Without a request for so long, 1m to 30d.")
@click.option("--off", is_flag=True, help="Never; wakes the app if it is idle.")
@with_app
@with_json
def idle(after: str | None, off: bool, app: str | None, remote: str | None, as_json: bool) -> None:
    """Show or set whether an app without requests goes idle.

    Its web processes end then, and start again with the next request, which waits for them.
    Processes of other types go on. By itself no app goes idle.
    """
    if after is not None and off:
        raise wrong("Say either --after AGE or --off.")
    after_s = seconds_of(after, "--after") if after is not None else None
    name = session.app(app, remote)
    client = session.client()
    path = below("oriel", "apps", name, "idling")

    def ask() -> dict[str, Any]:
        if after_s is not None:
            found: dict[str, Any] = client.put(path, {"after_s": after_s}).data
        else:
            found = client.delete(path).data if off else client.get(path).data
        return found

    if as_json:
        render.emit_json(ask())
    elif after_s is None and not off:
        _show(ask())
    else:
        made = outcome.step(f"Setting idling of {name}", ask)
        outcome.done()
        _show(made)


def _show(found: dict[str, Any]) -> None:
    after_s = found["after_s"]
    when = f"{shown_age(after_s)} without a request" if after_s is not None else "never"
    now = "yes" if found["asleep"] else "no"
    render.emit(render.fields((("Idle after", when), ("Idle now", now))))
