"""Owns `KEY=value` lines in a shell's quoting: what `config -s` prints and `config:import` reads.

What is written here, a POSIX shell reads back to the same, and so does `parse`. `parse` also reads
what `heroku config -s` writes, which differs from a shell in two ways: inside single quotes a
doubled backslash is one, inside double quotes `\\n` is a new line. So that both can be told apart
from plain shell, `quoted` never puts a backslash between single quotes. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from oriel.client.refusal import Refusal

SIZE_MAX = 1 << 20

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-~")
_DOUBLE = {'"': '"', "\\": "\\", "$": "$", "`": "`", "!": "!", "n": "\n", "\n": ""}


def quoted(value: str) -> str:
    """The value as one word of a shell."""
    if value and set(value) <= _PLAIN and value[0] != "~":
        return value
    if not set(value) & set("'\\"):
        return f"'{value}'"
    for special in ("\\", '"', "$", "`"):
        value = value.replace(special, "\\" + special)
    return f'"{value}"'


def lines(values: Mapping[str, str]) -> list[str]:
    """One `KEY=value` for each, in order."""
    return [f"{key}={quoted(value)}" for key, value in sorted(values.items())]


def parse(text: str) -> dict[str, str]:
    """The variables of such lines; blank lines, `#` comments and `export` are passed over.

    Nothing is expanded or run. Raises Refusal with the number of the line that makes no sense.
    """
    return dict(_Reader(text.removeprefix("\ufeff")).pairs())


class _Reader:
    """A place in the text, moving forward."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def pairs(self) -> Iterator[tuple[str, str]]:
        while self._skip_blank():
            yield self._key(), self._value()

    def _skip_blank(self) -> bool:
        """Go to the next line with something on it."""
        while self._at < len(self._text):
            if self._text[self._at].isspace():
                self._at += 1
            elif self._text[self._at] == "#":
                self._at = self._line_end()
            else:
                return True
        return False

    def _key(self) -> str:
        end = self._text.find("=", self._at, self._line_end())
        key = self._text[self._at : end].strip().removeprefix("export ").strip()
        if end < 0 or not key.isidentifier() or not key.isascii():
            raise self._wrong("is not KEY=value")
        self._at = end + 1
        return key

    def _value(self) -> str:
        parts: list[str] = []
        while self._at < len(self._text):
            each = self._text[self._at]
            self._at += 1
            if each == "'":
                parts.append(self._single())
            elif each == '"':
                parts.append(self._double())
            elif each == "\\":
                parts.append(self._escaped())
            elif each.isspace():
                self._at -= 1
                self._expect_end()
                break
            else:
                parts.append(each)
        return "".join(parts)

    def _single(self) -> str:
        end = self._text.find("'", self._at)
        if end < 0:
            raise self._wrong("has a ' that is not closed")
        inside = self._text[self._at : end]
        self._at = end + 1
        return inside.replace("\\\\", "\\")

    def _double(self) -> str:
        parts: list[str] = []
        while self._at < len(self._text):
            each = self._text[self._at]
            self._at += 1
            if each == '"':
                return "".join(parts)
            if each == "\\" and self._text[self._at : self._at + 1] in _DOUBLE:
                each = _DOUBLE[self._text[self._at]]
                self._at += 1
            parts.append(each)
        raise self._wrong('has a " that is not closed')

    def _escaped(self) -> str:
        each = self._text[self._at : self._at + 1]
        self._at += 1
        return "" if each == "\n" else each

    def _expect_end(self) -> None:
        rest = self._text[self._at : self._line_end()].strip()
        if rest and not rest.startswith("#"):
            raise self._wrong("goes on after the value")

    def _line_end(self) -> int:
        end = self._text.find("\n", self._at)
        return len(self._text) if end < 0 else end

    def _wrong(self, why: str) -> Refusal:
        number = self._text.count("\n", 0, min(self._at, len(self._text))) + 1
        # Never the line itself: it may hold a secret.
        return Refusal(
            f"Line {number} {why}.",
            id="invalid_params",
            hint="Write KEY=value, with quotes around a value that has spaces: KEY='two words'",
        )
