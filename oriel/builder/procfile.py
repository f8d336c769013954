"""Owns the Procfile's grammar: its text into process types, or every mistake with file and line.

Must not know where the text came from. A line is `TYPE: COMMAND`; blank lines and lines that
begin with # are comments. Where Heroku skips what it cannot read, this refuses: a typo that
drops a process type is found at the push, not in production.
"""

from __future__ import annotations

import re

from oriel.builder.limits import KIBIBYTE
from oriel.faults import Invalid
from oriel.lexicon import RESERVED_PROCESS_TYPES, Malformed, ProcessType

NAME = "Procfile"
EXAMPLE = 'echo "web: gunicorn app:app" > Procfile'

SIZE_BYTES_MAX = 64 * KIBIBYTE
TYPES_MAX = 100
COMMAND_CHARACTERS_MAX = 8000
_MISTAKES_SHOWN = 5

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")


def parse(content: bytes) -> dict[str, str]:
    """The process types of a Procfile and their commands, in its order; raises Invalid."""
    if len(content) > SIZE_BYTES_MAX:
        raise Invalid(f"{NAME} is larger than {SIZE_BYTES_MAX // KIBIBYTE} KiB.")
    types: dict[str, str] = {}
    seen: dict[str, int] = {}
    mistakes: list[str] = []
    for number, raw in enumerate(_text(content).split("\n"), start=1):
        line = raw.strip(" \t\r")
        if not line or line.startswith("#"):
            continue
        try:
            name, command = _entry(line)
            if name in seen:
                raise Malformed(
                    f"process type {name} is declared twice (first on line {seen[name]})"
                )
        except Malformed as mistake:
            mistakes.append(f"{NAME}:{number}: {mistake}")
            continue
        seen[name] = number
        types[name] = command
    if not mistakes and len(types) > TYPES_MAX:
        mistakes.append(f"{NAME}: {len(types)} process types are more than {TYPES_MAX}")
    if mistakes:
        raise _refusal(mistakes)
    if not types:
        raise Invalid(f"{NAME} declares no process type.", hint=EXAMPLE)
    return types


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise Invalid(
            f"{NAME}:{number}: this is not UTF-8 text.", hint=f"Save {NAME} as UTF-8."
        ) from None


def _entry(line: str) -> tuple[str, str]:
    name, colon, command = line.partition(":")
    name, command = name.rstrip(" \t"), command.strip(" \t")
    if not colon or not name:
        raise Malformed(f"expected TYPE: COMMAND, not {_shown(line)}")
    if len(name) > 128:
        raise Malformed("a process type has at most 128 characters")
    try:
        ProcessType(name)
    except Malformed:
        raise Malformed(
            f"process type {_shown(name)} is not allowed: use letters, digits, - and _"
        ) from None
    if name.lower() in RESERVED_PROCESS_TYPES:
        raise Malformed(f"process type {name} is reserved: it names a part of the platform")
    if not command:
        raise Malformed(f"process type {name} has no command")
    if len(command) > COMMAND_CHARACTERS_MAX:
        raise Malformed(f"the command of {name} is longer than {COMMAND_CHARACTERS_MAX} characters")
    if _CONTROL.search(command):
        raise Malformed(f"the command of {name} holds a control character")
    return name, command


def _refusal(mistakes: list[str]) -> Invalid:
    shown = mistakes[:_MISTAKES_SHOWN]
    if len(mistakes) > len(shown):
        shown.append(f"{NAME}: and {len(mistakes) - len(shown)} more mistakes")
    return Invalid("\n".join(shown), hint="Each line of a Procfile is TYPE: COMMAND.")


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 60 else text[:57] + "...")
