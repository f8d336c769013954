"""Owns the one table from a fault's id to the command's exit code. Must not know what failed."""

from __future__ import annotations

DONE = 0
FAILED = 1
USAGE = 2
NOT_VERIFIED = 10
RELEASE_FAILED = 11
NOT_UP = 12
UNKNOWN_COMMAND = 127
INTERRUPTED = 130
BROKEN_PIPE = 141
BROKEN_OFF = 255
"""How an attached program ended is not known; the code that ssh has for it."""

CODES = {
    "fault": FAILED,
    "internal_error": FAILED,
    "usage": USAGE,
    "no_app": USAGE,
    "bad_request": 3,
    "invalid_params": 3,
    "too_large": 3,
    "method_not_allowed": 3,
    "unsupported_media_type": 3,
    "not_found": 4,
    "conflict": 5,
    "release_pending": 5,
    "confirmation_required": 6,
    "unreachable": 7,
    "unavailable": 7,
    "rate_limit": 7,
    "request_timeout": 7,
    "unauthorized": 8,
    "forbidden": 8,
    "misdirected_request": 8,
    "not_verified": NOT_VERIFIED,
    "release_failed": RELEASE_FAILED,
    "not_up": NOT_UP,
}


def code_of(fault_id: str) -> int:
    """The exit code for a fault; one that is not in the table is a plain failure."""
    return CODES.get(fault_id, FAILED)
