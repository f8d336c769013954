"""Owns what a command works on: which API, as whom, which app. The only reader of ORIEL_*.

The app comes from -a, then -r, then ORIEL_APP, then the git remote `oriel`, then `heroku`. Must not
know commands.
"""

from __future__ import annotations

import os

import click

from oriel.client import credentials
from oriel.client.address import DEFAULT, Address
from oriel.client.refusal import Refusal

TYPE_CHECKING = False  # As in typing, without importing it.
if TYPE_CHECKING:
    from oriel.client.wire import Client

_NO_APP_HINT = (
    "Add -a NAME (oriel apps lists yours), set ORIEL_APP, "
    "or run in the app's repository: oriel git:remote -a NAME"
)


def address() -> Address:
    """Where the API is: ORIEL_API, or this machine."""
    return Address.parse(os.environ.get("ORIEL_API") or DEFAULT)


def credentials_path() -> str:
    """The file that remembers logins."""
    return credentials.path_of(os.environ)


def token_at(place: Address) -> str:
    """The token for an API: ORIEL_TOKEN is for the one that ORIEL_API names, and no other."""
    given = os.environ.get("ORIEL_TOKEN", "").strip()
    if given and place.origin == address().origin:
        if not (given.isascii() and given.isprintable()) or " " in given:
            raise Refusal("ORIEL_TOKEN is not a token.", id="unauthorized")
        return given
    return credentials.token_for(credentials_path(), place.origin)


def client() -> Client:
    """A client of the API, logged in; says how to log in where nobody is."""
    place = address()
    token = token_at(place)
    if not token:
        raise Refusal(
            f"You are not logged in to {place}.", id="unauthorized", hint="Log in: oriel login"
        )
    return connect(place, token)


def stranger() -> Client:
    """A client without a token, for logging in."""
    return connect(address(), "")


def connect(place: Address, token: str) -> Client:
    """A client of an API, with a token or an empty text."""
    from oriel.client.wire import Client

    made = Client(place, token)
    # However the command ends, its connection is closed.
    click.get_current_context().call_on_close(made.close)
    return made


def app(name: str | None, remote: str | None) -> str:
    """The app to work on; raises Refusal that says how to name one."""
    if name:
        return name
    if remote:
        return _app_of_remote(remote)
    return os.environ.get("ORIEL_APP", "").strip() or _app_around()


def _app_of_remote(remote: str) -> str:
    from oriel.cli import repository

    found = repository.remotes()
    if remote not in found:
        there = f"it has {', '.join(sorted(found))}" if found else "there is none here"
        raise Refusal(f"There is no git remote {remote}: {there}.", id="no_app", hint=_NO_APP_HINT)
    name = repository.app_in(found[remote])[1]
    if not name:
        raise Refusal(f"The git remote {remote} is no app's.", id="no_app", hint=_NO_APP_HINT)
    return name


def _app_around() -> str:
    from oriel.cli import repository

    found = repository.remotes()
    name = repository.app_in(found.get("oriel", ""))[1]
    if name:
        return name
    # A remote `heroku` may still be an app at Heroku, which has nothing to do with one here.
    host, name = repository.app_in(found.get("heroku", ""))
    if name and host == address().netloc:
        return name
    raise Refusal("No app specified.", id="no_app", hint=_NO_APP_HINT)
