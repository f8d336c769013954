"""Owns how the client says no: the server's refusals and the client's own, in one class.

Must not know HTTP beyond a status number.
"""

from __future__ import annotations

from oriel.faults import Fault

UNREACHABLE = "unreachable"
"""Nobody answers, or not to the end: the client's own id beside those of `oriel.faults`."""


class Refusal(Fault):
    """A request that came to nothing. `id` is the server's, or `unreachable`."""

    def __init__(
        self,
        message: str,
        *,
        id: str,
        status: int = 0,
        hint: str = "",
        resource: str = "",
        app: str = "",
    ) -> None:
        """`status` is the HTTP status, 0 when there was no answer."""
        super().__init__(message, hint=hint, resource=resource, app=app)
        self.id = id
        self.status = status
