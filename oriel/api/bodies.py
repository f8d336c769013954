"""Owns reading a request's body as a JSON object: bounds, and sentences for what is wrong.

Every complaint names the key it is about. Must not know what a key means.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from starlette.requests import ClientDisconnect, Request

from oriel import faults
from oriel.api.faults import TooSlow

BODY_BYTES_MAX = 1024 * 1024
"""Config is the largest body there is, and its sum is bounded far below this."""

BODY_WAIT_S = 30.0
"""How long a client may take to send one."""

DEPTH_MAX = 32
INTEGER_MAX = 2**53


async def read(request: Request, limit: int = BODY_BYTES_MAX, wait_s: float = BODY_WAIT_S) -> bytes:
    """The whole body. Raises TooLarge past `limit`, TooSlow past `wait_s`."""
    too_large = faults.TooLarge(f"The request's body is larger than {limit:,} bytes.")
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:18]) > limit:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(wait_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise too_large
    except TimeoutError:
        raise TooSlow(f"The request's body did not arrive within {wait_s:.0f} seconds.") from None
    except ClientDisconnect:
        raise faults.BadRequest("The request ended before its body did.") from None
    return bytes(body)


@dataclass(frozen=True, slots=True)
class Body:
    """A JSON object from outside, read key by key."""

    values: Mapping[str, Any]

    @classmethod
    def parse(cls, raw: bytes) -> Body:
        """The object that `raw` says; nothing at all is an empty one. Raises BadRequest."""
        if not raw.strip():
            return cls({})
        try:
            text = raw.decode("utf-8")
            value = json.loads(
                text, object_pairs_hook=_without_doubles, parse_constant=_refuse_constant
            )
        except UnicodeDecodeError:
            raise faults.BadRequest("The request's body is not UTF-8 text.") from None
        except RecursionError:
            raise faults.BadRequest("The request's body is nested too deeply.") from None
        except json.JSONDecodeError as problem:
            raise faults.BadRequest(
                f"The request's body is not JSON: {problem.msg} at line {problem.lineno}, "
                f"column {problem.colno}."
            ) from None
        except ValueError:
            raise faults.BadRequest("The request's body has a number that is too long.") from None
        if not isinstance(value, dict):
            raise faults.BadRequest(
                'The request\'s body is not a JSON object, as in {"name": "value"}.'
            )
        _check(value, "", 0)
        return cls(value)

    def __contains__(self, key: str) -> bool:
        """Whether the key is there, null included."""
        return key in self.values

    def text(self, key: str, hint: str = "") -> str:
        """A text that has to be there; raises Invalid."""
        value = self.optional_text(key)
        if value is None:
            raise faults.Invalid(f'"{key}" is missing.', hint=hint)
        return value

    def optional_text(self, key: str) -> str | None:
        """A text, or None when the key is absent or null."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, str):
            _wrong(key, "text")
        return value

    def optional_flag(self, key: str) -> bool | None:
        """True, false, or None when the key is absent or null."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            _wrong(key, "true or false")
        return value

    def optional_number(self, key: str) -> int | None:
        """A whole number, also one written as text as the official command line does."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 15:
            return int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= INTEGER_MAX:
            _wrong(key, "a whole number")
        return value

    def optional_texts(self, key: str) -> Sequence[str] | None:
        """A list of texts, or None when the key is absent or null."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            _wrong(key, "a list of texts")
        return value

    def objects(self, key: str) -> Sequence[Body]:
        """A list of objects that has to be there and not be empty."""
        value = self.values.get(key)
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            _wrong(key, "a list of objects")
        if not value:
            raise faults.Invalid(f'"{key}" is empty.')
        return [Body(each) for each in value]

    def reference(self, key: str) -> str | None:
        """A thing named by text, or by an object with its `id` or `name`: Heroku takes both."""
        value = self.values.get(key)
        if isinstance(value, dict):
            value = value.get("id") or value.get("name")
        if value is not None and not isinstance(value, str):
            _wrong(key, "a name or an id")
        return value


def _wrong(key: str, wanted: str) -> NoReturn:
    raise faults.Invalid(f'"{key}" has to be {wanted}.')


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise faults.BadRequest(f"The request's body has the key {_shown(key)} twice.")
            seen.add(key)
    return found


def _refuse_constant(word: str) -> NoReturn:
    raise faults.BadRequest(f"The request's body has {word}, which is not JSON.")


def _check(value: Any, key: str, depth: int) -> None:
    """Refuse what no part further in could keep: NUL, half a surrogate pair, a deep nest."""
    if depth > DEPTH_MAX:
        raise faults.BadRequest("The request's body is nested too deeply.")
    if isinstance(value, str):
        _check_text(value, key)
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check_text(name, name)
            _check(inner, name, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, key, depth + 1)


def _check_text(value: str, key: str) -> None:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise faults.Invalid(f"{_shown(key)} holds a character that is not Unicode text.") from None
    if "\0" in value:
        raise faults.Invalid(f"{_shown(key)} holds a NUL character.")


def _shown(key: str) -> str:
    short = key if len(key) <= 60 else key[:57] + "..."
    # ascii() also makes half a surrogate pair printable.
    return '"' + ascii(short)[1:-1] + '"'
