"""Owns times as people type and read them: with a zone, without one, in theirs.

Must not know logs. Ages and releases (`2h`, `v74`) are the server's to understand.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from oriel.cli.options import wrong

_TIME_ONLY = re.compile(r"\d\d:\d\d(?::\d\d(?:\.\d+)?)?", re.ASCII)
_ZONED = re.compile(r"(.*\d)\s*(Z|[+-]\d\d:?\d\d|[A-Za-z][A-Za-z0-9_+/-]*)", re.ASCII)
_OFFSET = re.compile(r"Z|[+-]\d\d:?\d\d")
_PLAIN = re.compile(r"v\d+|(?:\d+[smhdw])+", re.ASCII)


def typed(text: str, now: datetime, *, local: bool) -> str:
    """A moment as it was typed, fit for the server; `local`: one without a zone is of ours.

    Raises a usage error when it is none.
    """
    text = text.strip()
    if _PLAIN.fullmatch(text):
        return text
    plain, zone = _split(text, local)
    if _TIME_ONLY.fullmatch(plain):
        plain = f"{now.astimezone(zone):%Y-%m-%d}T{plain}"
    try:
        found = datetime.fromisoformat(plain)
        if found.tzinfo is None:
            found = found.replace(tzinfo=zone) if zone else found.astimezone()
        return found.astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        raise wrong(
            f"{text!r} is no time: use 2011-06-19T08:35:21+00:00, '2011-06-19 10:35 Europe/Berlin',"
            " 08:35, an age (2h, 30m) or a release (v74)."
        ) from None


def here() -> Callable[[datetime], datetime]:
    """What gives a time as this machine's zone has it."""
    return datetime.astimezone


def _split(text: str, local: bool) -> tuple[str, tzinfo | None]:
    """The time without its zone, and the zone; None is this machine's."""
    match = _ZONED.fullmatch(text)
    if not match or (match[2][:1] == "T" and ":" in match[2]):
        return text, None if local else UTC
    plain, name = match[1].strip(), match[2]
    if name.upper() in ("Z", "UTC", "GMT"):
        return plain, UTC
    if _OFFSET.fullmatch(name):
        if ":" not in plain:
            # The end of a date, not an offset.
            return text, None if local else UTC
        digits = name[1:].replace(":", "")
        offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
        try:
            return plain, timezone(-offset if name[0] == "-" else offset)
        except ValueError:
            return text, UTC
    try:
        return plain, ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise wrong(f"Time zone {name!r} is not known here.") from None
