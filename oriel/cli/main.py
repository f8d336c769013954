"""Owns the door: from the words of a command line to a command, and from its end to an exit code.

Must not know what any command does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from oriel.cli import exits, table, terminal
from oriel.faults import Fault

NAME = "oriel"


class Commands(click.Group):
    """All commands, imported only when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, as the shell's completion offers them."""
        return [name for section in table.COMMANDS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name; imports its module."""
        found = table.find(cmd_name)
        return load(found[0]) if found else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command to run, or what was probably meant."""
        if table.find(args[0]) is None and not args[0].startswith("-"):
            raise NoSuchCommand(args[0], ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by section, from the table alone."""
        widest = max(map(len, self.list_commands(ctx)))
        for title, section in table.COMMANDS.items():
            with formatter.section(title):
                rows = [(f"{name:<{widest}}", text) for name, (_, text) in section.items()]
                formatter.write_dl(rows)


class NoSuchCommand(click.UsageError):
    """A name that no command has."""

    exit_code = exits.UNKNOWN_COMMAND

    def __init__(self, name: str, ctx: click.Context) -> None:
        """Says what is spelled alike."""
        import difflib

        shown = terminal.shown(name)
        close = difflib.get_close_matches(name, table.names(), n=3, cutoff=0.6)
        meant = f"Did you mean {', '.join(f'oriel {each}' for each in close)}? " if close else ""
        super().__init__(f"There is no command {shown}.\n{meant}oriel help lists all.", ctx)


def load(target: str) -> click.Command:
    """The command that a string of the table names."""
    import importlib

    module, _, attribute = target.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as problem:
        if (problem.name or "").partition(".")[0] == NAME:
            raise  # Ours are all there, or it is a mistake of ours.
        raise Fault(
            "This machine has the oriel command, but not the server "
            f"({problem.name} is not installed).",
            hint="Install it: pip install 'oriel[server]'",
        ) from None
    command: click.Command = found
    return command


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from oriel import __version__

        print(f"{NAME} {__version__}")
        ctx.exit()


def commands() -> Commands:
    """The whole command line."""
    return Commands(
        name=NAME,
        help="A platform you can see into: git push, ps, logs, releases, rollback.",
        epilog="oriel help COMMAND, or oriel COMMAND --help, shows more and an example.",
        subcommand_metavar="COMMAND [ARGS]...",
        context_settings={"help_option_names": ["-h", "--help"]},
        params=[
            click.Option(
                ["--version"],
                is_flag=True,
                expose_value=False,
                is_eager=True,
                callback=_version,
                help="Show the version.",
            )
        ],
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code."""
    terminal.forgiving()
    words = list(sys.argv[1:] if args is None else args) or ["--help"]
    if "_ORIEL_COMPLETE" in os.environ:
        commands().main(words, prog_name=NAME)
    try:
        code = _run(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read has gone, as with `| head`. What is left must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.BROKEN_PIPE


def _run(words: list[str]) -> int:
    try:
        with commands().make_context(NAME, words) as context:
            code = context.command.invoke(context)
        return code if isinstance(code, int) else exits.DONE
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except (KeyboardInterrupt, click.Abort):
        print(file=sys.stderr)
        return exits.INTERRUPTED
    except click.UsageError as problem:
        return _misused(problem, words)
    except click.ClickException as problem:
        terminal.complain(problem.format_message())
        return problem.exit_code
    except Fault as fault:
        terminal.complain(fault.message, fault.hint)
        return exits.code_of(fault.id)


def _misused(problem: click.UsageError, words: list[str]) -> int:
    terminal.complain(problem.format_message())
    joined = ":".join(words[:2])
    if len(words) > 1 and ":" not in words[0] and table.find(joined):
        terminal.complain(f"Did you mean oriel {joined}?")
    elif problem.ctx is not None and not isinstance(problem, NoSuchCommand):
        terminal.complain(problem.ctx.get_usage())
    return problem.exit_code


if __name__ == "__main__":
    sys.exit(main())
