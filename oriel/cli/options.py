"""Owns the options that many commands share, and the form of their help. Must not know commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

F = TypeVar("F", bound=Callable[..., object])


def with_app(function: F) -> F:
    """`-a NAME` and `-r REMOTE`: which app, when it is not the one of this repository."""
    function = click.option("-r", "--remote", metavar="REMOTE", help="Git remote of the app.")(
        function
    )
    return click.option("-a", "--app", metavar="NAME", help="Name of the app.")(function)


with_json = click.option("-j", "--json", "as_json", is_flag=True, help="Print JSON.")


def example(*commands: str) -> str:
    """The end of a command's help."""
    return "\b\nExample:\n" + "\n".join(f"  {command}" for command in commands)


def wrong(message: str) -> click.UsageError:
    """A command line that makes no sense."""
    return click.UsageError(message)
