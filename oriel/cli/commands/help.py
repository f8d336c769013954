"""Owns `oriel help` and `oriel version`."""

from __future__ import annotations

import click

from oriel import __version__
from oriel.cli import table
from oriel.cli.options import example


@click.command("help", epilog=example("oriel help ps:scale"))
@click.argument("command", required=False)
@click.pass_context
def help_(ctx: click.Context, command: str | None) -> None:
    """Show help on COMMAND, or list all commands."""
    top = ctx.find_root()
    if command is None:
        print(top.get_help())
        return
    group = top.command
    assert isinstance(group, click.Group)  # noqa: S101 - it is what main built
    _, found, _ = group.resolve_command(top, [command])
    if found is not None:
        name = table.ALIASES.get(command, command)
        print(found.get_help(click.Context(found, info_name=name, parent=top)))


@click.command(epilog=example("oriel version"))
def version() -> None:
    """Show the version of this command."""
    print(f"oriel {__version__}")
