"""Owns logging in and out. Must never print a token, or take a password from the command line."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

import click

from oriel.cli import render, session, terminal
from oriel.cli.options import example, with_json, wrong
from oriel.client import credentials
from oriel.client.refusal import Refusal
from oriel.client.wire import Client

LIVES_S = 30 * 86400
"""How long a login lasts, as Heroku's."""

LINE_MAX = 4096


@click.command(
    epilog=example(
        "oriel login",
        "printf '%s\\n' ned@foobazco.com \"$PASSWORD\" | oriel login --stdin",
        "oriel login --setup ~/.local/share/oriel/setup-token",
    )
)
@click.option("--email", metavar="EMAIL", help="Your e-mail address.")
@click.option("--stdin", "piped", is_flag=True, help="Read e-mail and password as lines.")
@click.option("--setup", metavar="FILE", help="Make the owner's account, with the setup token.")
@click.option("--invitation", is_flag=True, help="Choose a password, with an invitation.")
def login(email: str | None, piped: bool, setup: str | None, invitation: bool) -> None:
    """Log in with e-mail address and password.

    --setup and --invitation make the account first: the one for the owner of a new installation,
    with the token that `oriel up` wrote to a file, the other for whom the owner invited. The
    lines of --stdin are e-mail address and password, with --invitation the invitation and a
    password of your own.
    """
    if setup and invitation:
        raise wrong("Either --setup or --invitation")
    place = session.address()
    client = session.stranger()
    if place.scheme == "http" and not place.loopback:
        terminal.note(f"Warning: to {place} your password goes unencrypted.")
    asker = _Piped() if piped else _Terminal()
    if invitation:
        # Asked for, never an argument: a process list would show it.
        token = asker.line("Invitation")
        password = asker.secret("New password", twice=True)
        made = client.post("/oriel/invitations", {"token": token, "password": password}).data
        email = str(made["email"])
    else:
        email = email or asker.line("E-mail")
        password = asker.secret("Password", twice=bool(setup))
        if setup:
            body = {"token": _setup_token(setup), "email": email, "password": password}
            client.post("/oriel/setup", body)
    _log_in(client, email, password)


@click.command(epilog=example("oriel logout"))
def logout() -> None:
    """Log out: the token ends, here and on the server."""
    if os.environ.get("ORIEL_TOKEN"):
        terminal.note("ORIEL_TOKEN is set, and stays so: unset ORIEL_TOKEN")
    place = session.address()
    path = session.credentials_path()
    found = credentials.load(path).get(place.origin)
    if found is None:
        terminal.note(f"You are not logged in to {place}.")
        return
    try:
        _revoke(session.connect(place, found.token), found.authorization)
    except Refusal as refusal:
        terminal.complain(f"The token may go on being valid: {refusal.message}")
    finally:
        credentials.forget(path, place.origin)
    print(f"Logged out of {place}")


@click.command(epilog=example("oriel whoami"))
@with_json
def whoami(as_json: bool) -> None:
    """Show who you are logged in as."""
    found = session.client().get("/account").data
    if as_json:
        render.emit_json(found)
    else:
        print(terminal.shown(found["email"]))


def _log_in(client: Client, email: str, password: str) -> None:
    body = {
        "description": f"oriel login from {socket.gethostname()}",
        "expires_in": LIVES_S,
        "scope": ["global"],
    }
    made: dict[str, Any] = client.log_in(email, password, body).data
    place = client.address
    login = credentials.Login(
        str((made.get("user") or {}).get("email") or email),
        str(made["access_token"]["token"]),
        str(made.get("id") or ""),
    )
    credentials.remember(session.credentials_path(), place.origin, login)
    print(f"Logged in to {place} as {terminal.shown(login.email)}")
    if os.environ.get("ORIEL_TOKEN"):
        terminal.note("ORIEL_TOKEN is set and comes first: unset ORIEL_TOKEN")


def _revoke(client: Client, authorization: str) -> None:
    """End a session, and with it its token."""
    from oriel.client.address import below

    paths = [f"/oauth/authorizations/{authorization}"] if authorization else []
    for path in ["/oauth/sessions/~", *(below(*each[1:].split("/")) for each in paths)]:
        try:
            client.delete(path)
        except Refusal as refusal:
            # Gone already, by the first call or long before, is what was wanted.
            if refusal.status not in (401, 403, 404):
                raise


def _setup_token(text: str) -> str:
    """The token itself, or the one in the file of that name."""
    try:
        with open(os.path.expanduser(text), encoding="ascii") as file:
            return file.readline(LINE_MAX).strip()
    except PermissionError:
        raise Refusal(
            f"{text} cannot be read by you.",
            id="forbidden",
            hint="Read it as the user that runs oriel up.",
        ) from None
    except (OSError, ValueError):
        if os.sep in text:
            raise Refusal(
                f"There is no setup token in {text}.",
                id="not_found",
                hint="oriel up says where it is; it is gone once the owner is made.",
            ) from None
        return text


class _Terminal:
    """Asks a person."""

    def line(self, what: str) -> str:
        """A line that may be seen."""
        self._check()
        return str(click.prompt(what, err=True)).strip()

    def secret(self, what: str, *, twice: bool) -> str:
        """A line that is not shown while it is typed."""
        self._check()
        return str(click.prompt(what, hide_input=True, confirmation_prompt=twice, err=True))

    def _check(self) -> None:
        if not sys.stdin.isatty():
            raise wrong(
                "There is no terminal to ask on; in a script, use --stdin: e-mail on the first "
                "line, password on the second"
            )


class _Piped:
    """Takes lines of standard input."""

    def line(self, what: str) -> str:
        """The next line."""
        return self.secret(what, twice=False).strip()

    def secret(self, what: str, *, twice: bool) -> str:
        """The next line; nobody types it wrong, so once is enough."""
        text = sys.stdin.readline(LINE_MAX).rstrip("\r\n")
        if not text:
            raise wrong(f"{what} is missing on standard input")
        return text
