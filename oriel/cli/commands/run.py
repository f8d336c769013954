"""Owns `run` and `ps:exec`: a command in a dyno of its own, or inside one that runs."""

from __future__ import annotations

import os
import shlex
import sys
from typing import Any

import click

from oriel.cli import exits, render, session, terminal
from oriel.cli.options import example, with_app, with_json, wrong
from oriel.client.address import below

_ARGUMENTS = {"ignore_unknown_options": True, "allow_interspersed_args": False}

_tty_option = click.option(
    "--tty/--no-tty", "tty", default=None, help="With a terminal, or with plain pipes."
)
_env_option = click.option(
    "-e", "--env", "env", multiple=True, metavar="NAME=VALUE", help="A variable; may be repeated."
)


@click.command(
    context_settings=_ARGUMENTS,
    epilog=example(
        "oriel run bash",
        "oriel run -s standard-2x -e TRACE=1 rake db:migrate",
        "oriel run 'pg_dump $DATABASE_URL' > dump.sql",
        "oriel run --detached rake reindex",
    ),
)
@click.option("-d", "--detached", is_flag=True, help="Do not wait: its output goes to the log.")
@click.option(
    "-x", "--exit-code", is_flag=True, help="Pass its exit code on; oriel does so anyway."
)
@click.option("-s", "--size", metavar="SIZE", help="Size of the dyno, as in standard-2x.")
@click.option("--type", "type_", metavar="TYPE", help="Name it TYPE.N instead of run.N.")
@click.option(
    "--time-to-live",
    "--ttl",
    "time_to_live",
    metavar="TIME",
    help="When it is ended at the latest: 90s, 15m, 2h (24h).",
)
@_tty_option
@_env_option
@with_app
@with_json
@click.argument("command", nargs=-1, required=True, metavar="COMMAND...")
def run(
    detached: bool,
    exit_code: bool,
    size: str | None,
    type_: str | None,
    time_to_live: str | None,
    tty: bool | None,
    env: tuple[str, ...],
    app: str | None,
    remote: str | None,
    as_json: bool,
    command: tuple[str, ...],
) -> int:
    """Run a command in a one-off dyno: the app's newest code and config, a dyno of its own.

    One word is given to a shell as it is; several are quoted, so that each stays one.
    """
    ask = _ask(command, env, tty and not detached)
    for key, value in (("size", size), ("type", type_), ("time_to_live", _seconds(time_to_live))):
        if value is not None:
            ask[key] = value
    name = session.app(app, remote)
    client = session.client()
    if detached:
        ask["attach"] = False
        return _detached(name, client.post(below("apps", name, "dynos"), ask).data, as_json)
    if as_json:
        raise wrong("--json goes with --detached: what an attached command prints is its own")
    ask["attach"] = True
    terminal.note(f"Running {terminal.shown(ask['command'])} on {name}...")
    dyno = client.post(below("apps", name, "dynos"), ask).data
    terminal.note(f"{dyno['name']} ({dyno['size']})")
    return _attached(dyno, name, "force_no_tty" not in ask)


@click.command(
    "ps:exec",
    context_settings=_ARGUMENTS,
    epilog=example(
        "oriel ps:exec web.1", "oriel ps:exec web.1 'ps aux'", "oriel ps:exec worker.2 -- top"
    ),
)
@_tty_option
@_env_option
@with_app
@click.option("-d", "--dyno", "named", metavar="TYPE.N", help="The same as TYPE.N.")
@click.argument("words", nargs=-1, metavar="[TYPE.N] [COMMAND...]")
def ps_exec(
    tty: bool | None,
    env: tuple[str, ...],
    app: str | None,
    remote: str | None,
    named: str | None,
    words: tuple[str, ...],
) -> int:
    """Open a shell, or run a command, inside a running dyno: its files, its processes, its limits.

    Without a name it is web.1.
    """
    if named is None and words and _is_dyno(words[0]):
        named, words = words[0], words[1:]
    words = words[1:] if words[:1] == ("--",) else words
    dyno = named or "web.1"
    ask = _ask(words or ("bash",), env, tty)
    name = session.app(app, remote)
    client = session.client()
    shown = terminal.shown(ask["command"])
    terminal.note(f"Running {shown} in {terminal.shown(dyno)} of {name}...")
    answer = client.post(below("apps", name, "dynos", dyno), ask).data
    return _attached(answer, name, "force_no_tty" not in ask)


def _is_dyno(word: str) -> bool:
    type_, _, number = word.rpartition(".")
    return bool(type_) and number.isdecimal() and "/" not in type_ and " " not in type_


def _ask(words: tuple[str, ...], env: tuple[str, ...], tty: bool | None) -> dict[str, Any]:
    """What is asked of the API."""
    variables: dict[str, str] = {}
    for text in env:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise wrong(f"{terminal.shown(key)} is not NAME=VALUE, as in -e TRACE=1")
        variables[key] = value
    ask: dict[str, Any] = {"command": words[0] if len(words) == 1 else shlex.join(words)}
    if tty is None:
        tty = os.isatty(0) and os.isatty(1)
    if not tty:
        ask["force_no_tty"] = True
    else:
        variables.setdefault("TERM", os.environ.get("TERM", "xterm"))
        size = _size()
        if size is not None:
            # Not COLUMNS and LINES in its environment: they would stay as they are.
            ask["window"] = {"columns": size.columns, "lines": size.lines}
    ask["env"] = variables
    return ask


def _size() -> os.terminal_size | None:
    try:
        return os.get_terminal_size(0)
    except OSError:
        return None


_UNITS = {"s": 1, "m": 60, "h": 3600}


def _seconds(text: str | None) -> int | None:
    if text is None:
        return None
    number, unit = (text[:-1], text[-1:]) if text[-1:] in _UNITS else (text, "s")
    if not (number.isascii() and number.isdecimal() and len(number) <= 6):
        raise wrong(f"{terminal.shown(text)} is not a time, as in 90s, 15m or 2h")
    return int(number) * _UNITS[unit]


def _detached(name: str, dyno: dict[str, Any], as_json: bool) -> int:
    if as_json:
        render.emit_json(dyno)
        return exits.DONE
    print(dyno["name"])
    terminal.note(f"Running {terminal.shown(dyno['command'])} on {name}, detached.")
    terminal.note(f"  Watch it: oriel logs --tail --ps {dyno['name']} -a {name}")
    terminal.note(f"  Stop it:  oriel ps:stop {dyno['name']} -a {name}")
    return exits.DONE


def _attached(dyno: dict[str, Any], app: str, tty: bool) -> int:
    """Stay with it to its end; the exit code."""
    from oriel.client import attach

    own = dyno.get("oriel") or {}
    sys.stdout.flush()
    try:
        ended = attach.attach(str(dyno["attach_url"]), str(own.get("authority") or ""), tty=tty)
    except attach.Interrupted:
        terminal.complain(
            f"Disconnected from {dyno['name']}; what you ran there gets SIGHUP.",
            f"See whether it has ended with: oriel ps -a {app}",
        )
        return exits.INTERRUPTED
    if ended.code is not None and not ended.why:
        return int(ended.code)
    if tty:
        terminal.note("")  # The program's last line may not have ended.
    terminal.complain(f"{dyno['name']}: {ended.why or 'its exit status is not known'}.")
    if ended.code is None:
        hint = f"oriel ps -a {app}, oriel logs --ps {dyno['name']} -a {app}"
        terminal.complain(f"How it ended will be in: {hint}")
    return ended.code or exits.BROKEN_OFF


@click.command(
    "ca",
    epilog=example(
        "oriel ca > oriel-ca.pem", "NODE_EXTRA_CA_CERTS=$PWD/oriel-ca.pem heroku run bash"
    ),
)
@with_json
def ca(as_json: bool) -> None:
    """Print the certificate of this Oriel's own authority (PEM).

    The port where `run` attaches has a certificate that this authority signed. `oriel run` needs
    nothing: the API tells it the authority, over the connection that your token goes over. The
    official `heroku` trusts it when NODE_EXTRA_CA_CERTS names a file with this certificate; it
    takes no other way, and says nothing when it does not trust. The certificate is no secret, but
    get it over a connection that you trust: https, or loopback.
    """
    client = session.client()
    answer = client.get("/oriel/authority").data
    if as_json:
        render.emit_json(answer)
        return
    print(answer["certificate"], end="")
