"""Owns the ways to name a moment: a time, an age, a release. Pure; must not know logs."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from oriel import faults

_RELEASE = re.compile(r"v([1-9]\d{0,8})", re.ASCII)
_AGE = re.compile(r"(?:\d{1,6}[smhdw])+", re.ASCII)
_AGE_PART = re.compile(r"(\d+)([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_TEXT_MAX = 64


def release_of(text: str) -> int | None:
    """The number in `v74`; None when it is another way to name a moment."""
    match = _RELEASE.fullmatch(text.strip())
    return int(match[1]) if match else None


def moment(text: str, now: datetime) -> datetime:
    """The moment that a time (UTC unless it says otherwise) or an age such as `2h30m` names.

    Raises Invalid.
    """
    plain = text.strip()
    if len(plain) > _TEXT_MAX:
        raise _unknown(plain)
    if _AGE.fullmatch(plain):
        parts: dict[str, int] = {}
        for number, unit in _AGE_PART.findall(plain):
            parts[_UNITS[unit]] = parts.get(_UNITS[unit], 0) + int(number)
        try:
            return now - timedelta(**parts)
        except OverflowError:
            raise _unknown(plain) from None
    try:
        found = datetime.fromisoformat(plain)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise _unknown(plain) from None


def end_of(text: str, now: datetime) -> datetime:
    """The same as an end: a time in whole seconds takes that second in, as lines show it."""
    found = moment(text, now)
    whole_second = found.microsecond == 0 and not _AGE.fullmatch(text.strip())
    return found + timedelta(microseconds=999_999) if whole_second else found


def _unknown(text: str) -> faults.Invalid:
    return faults.Invalid(
        f"{text[:_TEXT_MAX]!r} is no time.",
        hint="Use a time such as 2011-06-19T08:35:21+00:00, an age such as 2h or 30m, or a "
        "release such as v74.",
    )
