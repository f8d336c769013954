"""Owns the tree of refusals: everything Oriel says no with. Must not know HTTP or exit codes.

    Fault
    ├── BadRequest          bad_request       the request itself cannot be read
    ├── Unauthorized        unauthorized      who are you?
    ├── Forbidden           forbidden         you may not
    ├── NotFound            not_found         no such thing (`resource` says of what kind)
    ├── Conflict            conflict          it clashes with how things are now
    │   └── ReleasePending  release_pending   another change of the app is still under way
    ├── Invalid             invalid_params    understood, but not allowed
    ├── TooLarge            too_large         over a limit of size
    ├── TooMany             rate_limit        over a limit of rate
    ├── ConfirmationNeeded  confirmation_required
    ├── Unavailable         unavailable       a part that is needed is away; try again
    └── Broken              internal_error    our own mistake

A fault's message says what happened and why; its hint says what to type next. One table in
`api` maps the classes to HTTP statuses, one in `cli` maps the ids to exit codes.
"""

from __future__ import annotations


class Fault(Exception):
    """A refusal with a stable id, a sentence for a person, and what to do next."""

    id = "fault"

    def __init__(self, message: str, *, hint: str = "", resource: str = "", app: str = "") -> None:
        """`resource` is the kind of thing missing (`app`, `release`...), `app` the app's name."""
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.resource = resource
        self.app = app


class BadRequest(Fault):
    """The request itself cannot be read."""

    id = "bad_request"


class Unauthorized(Fault):
    """There is no token, or not one that is known."""

    id = "unauthorized"


class Forbidden(Fault):
    """The account is known and may not do this."""

    id = "forbidden"


class NotFound(Fault):
    """No such thing, or none that this account may know of."""

    id = "not_found"


class Conflict(Fault):
    """It clashes with how things are now."""

    id = "conflict"


class ReleasePending(Conflict):
    """Another change of the app is still under way."""

    id = "release_pending"


class Invalid(Fault):
    """Understood, but not allowed."""

    id = "invalid_params"


class TooLarge(Fault):
    """Over a limit of size."""

    id = "too_large"


class TooMany(Fault):
    """Over a limit of rate; waiting helps."""

    id = "rate_limit"


class ConfirmationNeeded(Fault):
    """A destructive act that wants the app's name typed."""

    id = "confirmation_required"


class Unavailable(Fault):
    """A part of the platform that this needs is away for the moment."""

    id = "unavailable"


class Broken(Fault):
    """A mistake of Oriel's own."""

    id = "internal_error"
