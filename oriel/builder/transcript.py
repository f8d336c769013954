"""Owns what a build said: kept in a file, told to the pusher, without the app's secrets.

Must not know builds. Text is handled line by line, so that a secret cut in two by a read is
still found; a line is shown when it is complete. Bounded: what is over is counted and told.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from oriel.builder.limits import MEBIBYTE, human_size
from oriel.faults import Fault

MASK = "[masked]"
SECRET_CHARACTERS_MIN = 4
"""Shorter values (`1`, `on`) stay: masking them would leave no readable line."""
LINE_CHARACTERS_MAX = 64 * 1024

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")

Say = Callable[[str], Awaitable[None]]


class Masks:
    """The config values of an app, to be struck from what its build says."""

    def __init__(self, secrets: Iterable[str]) -> None:
        """`secrets`: the values; also known by the forms in which programs print them."""
        forms = {form for secret in secrets for form in _forms(secret)}
        known = sorted((form for form in forms if _is_secret(form)), key=len, reverse=True)
        pattern = "|".join(_pattern(form) for form in known)
        self._pattern = re.compile(pattern) if known else None

    def strike(self, text: str) -> str:
        """The text without the secrets."""
        return self._pattern.sub(MASK, text) if self._pattern else text


def _forms(secret: str) -> Iterable[str]:
    lines = [line.strip() for line in secret.splitlines()]
    for form in [secret.strip(), *lines, *_url_parts(secret)]:
        yield form
        yield quote(form, safe="")
        yield json.dumps(form)[1:-1]


def _url_parts(secret: str) -> list[str]:
    """A URL's password, which tools print on its own."""
    try:
        password = urlsplit(secret.strip()).password or ""
    except ValueError:
        return []
    return [password, unquote(password)]


def _is_secret(form: str) -> bool:
    return len(form) >= SECRET_CHARACTERS_MIN and "\n" not in form


def _pattern(form: str) -> str:
    """Short values count only as whole words, or `prod` would strike through `product`."""
    if len(form) >= 8 or not form.isalnum():
        return re.escape(form)
    return rf"(?<![A-Za-z0-9]){re.escape(form)}(?![A-Za-z0-9])"


class Transcript:
    """One build's output. Close it."""

    def __init__(
        self,
        path: Path,
        say: Say | None,
        secrets: Iterable[str],
        *,
        size_bytes_max: int = 300 * MEBIBYTE,
    ) -> None:
        """`say` tells the pusher, if there is one; `path` keeps it."""
        self.path = path
        self._say = say
        self._masks = Masks(secrets)
        self._room = size_bytes_max
        self._over = 0
        self._line = ""
        self._cut = False
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = open(os.open(path, flags, 0o600), "ab", buffering=0)  # noqa: SIM115

    async def write(self, text: str) -> None:
        """Take the next piece of output; complete lines are kept and told."""
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        *lines, rest = text.split("\n")
        shown = []
        for line in lines:
            shown.append(self._finished(line))
        self._grow(rest)
        await self._tell("".join(shown))

    async def heading(self, text: str) -> None:
        """A step of the build: `-----> Python app detected`."""
        await self.write(f"-----> {text}\n")

    async def detail(self, text: str) -> None:
        """Something below a heading, indented as Heroku does."""
        await self.write("".join(f"       {line}\n" for line in text.splitlines()))

    async def refuse(self, fault: Fault) -> None:
        """Why it ends here, and what to do about it."""
        await self.write(refusal(fault))

    async def flush(self) -> None:
        """Show a last line that has no end."""
        if self._line:
            await self.write("\n")

    async def close(self) -> None:
        """Nothing more will be said. Doing it again does no harm."""
        if self._file.closed:
            return
        if self._line:
            self._keep(self._finished(""))
        if self._over:
            over = f" !     {human_size(self._over)} more output was not kept.\n"
            self._file.write(over.encode())
        self._file.close()

    def _finished(self, line: str) -> str:
        self._grow(line)
        whole, self._line, self._cut = self._line, "", False
        return self._masks.strike(_CONTROL.sub("", whole)) + "\n"

    def _grow(self, piece: str) -> None:
        """Add to the line that is not complete; what is over its bound is cut off."""
        if self._cut:
            return
        self._line += piece
        if len(self._line) > LINE_CHARACTERS_MAX:
            self._line = self._line[:LINE_CHARACTERS_MAX] + " [line cut]"
            self._cut = True

    async def _tell(self, text: str) -> None:
        if not text or not self._keep(text) or not self._say:
            return
        try:
            await self._say(text)
        except BaseException:
            self._say = None  # the pusher is gone: that is told once, then only the file is left
            raise

    def _keep(self, text: str) -> bool:
        content = text.encode("utf-8", "replace")
        if self._over or len(content) > self._room:
            self._over += len(content)
            return False
        self._room -= len(content)
        self._file.write(content)
        return True


def refusal(fault: Fault) -> str:
    """A fault as a push shows it."""
    lines = [*fault.message.splitlines(), *fault.hint.splitlines()]
    return "".join(f" !     {line}\n" for line in lines)
