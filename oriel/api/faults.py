"""Owns the one table from fault to HTTP status, and the JSON of a refusal.

The class decides, looked up along its method resolution order, so that a fault that is new to
this table answers as its parent does. What nobody foresaw is a 500 that carries the request's id
and nothing else; the log gets the place, never the values: an exception's text may quote a
config var or a password.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.responses import JSONResponse

from oriel import faults
from oriel.lexicon import Malformed

STATUSES: Mapping[type[BaseException], int] = {
    faults.BadRequest: 400,
    faults.Unauthorized: 401,
    faults.Forbidden: 403,
    faults.NotFound: 404,
    faults.Conflict: 409,
    faults.Invalid: 422,
    faults.TooLarge: 413,
    faults.TooMany: 429,
    faults.ConfirmationNeeded: 423,
    faults.Unavailable: 503,
    faults.Broken: 500,
    faults.Fault: 500,
    Malformed: 422,
}

_log = logging.getLogger("oriel.api")


class MethodUnknown(faults.BadRequest):
    """There is something at this path, but not for this method."""

    id = "method_not_allowed"

    def __init__(self, method: str, path: str, allowed: Iterable[str]) -> None:
        """`allowed` are the methods that there are; `path` is empty where it is a secret."""
        self.allowed = ", ".join(sorted(allowed))
        where = f"at {path[:200]}" if path else "here"
        super().__init__(f"{method} is not possible {where}.", hint=f"Possible: {self.allowed}.")


class MediaUnknown(faults.BadRequest):
    """The body is of a type that nobody here reads."""

    id = "unsupported_media_type"


class TooSlow(faults.BadRequest):
    """The request's body did not come in time."""

    id = "request_timeout"


class Misdirected(faults.Forbidden):
    """The Host header names somebody else: DNS rebinding, or a setting that is missing."""

    id = "misdirected_request"


_OWN_STATUSES: Mapping[type[BaseException], int] = {
    MethodUnknown: 405,
    TooSlow: 408,
    MediaUnknown: 415,
    Misdirected: 421,
}


def status_of(kind: type[BaseException]) -> int:
    """The status for a class of fault; 500 for one that is no refusal at all."""
    for each in kind.__mro__:
        status = _OWN_STATUSES.get(each) or STATUSES.get(each)
        if status:
            return status
    return 500


def describe(problem: Exception, request_id: str) -> dict[str, Any]:
    """The JSON of a refusal; of a mistake of ours it tells the request's id and no more."""
    if isinstance(problem, faults.Fault):
        body: dict[str, Any] = {"id": problem.id, "message": problem.message}
        if problem.hint:
            body["hint"] = problem.hint
        if problem.resource:
            body["resource"] = problem.resource
        if problem.app:
            body["app"] = {"name": problem.app}
        return body
    if isinstance(problem, Malformed):
        return {"id": faults.Invalid.id, "message": str(problem)}
    return {
        "id": faults.Broken.id,
        "message": f"Something broke inside Oriel; its log has more under request {request_id}.",
    }


def answer(problem: Exception, request_id: str) -> JSONResponse:
    """The response for anything that a handler raised; logs what is our own mistake."""
    status = status_of(type(problem))
    if status == 500:
        tell(problem, request_id)
    headers = headers_of(problem, 'Bearer realm="Oriel"')
    return JSONResponse(describe(problem, request_id), status, headers)


def headers_of(problem: Exception, challenge: str) -> dict[str, str]:
    """What a refusal says in headers."""
    if isinstance(problem, MethodUnknown):
        return {"Allow": problem.allowed}
    return {"WWW-Authenticate": challenge} if status_of(type(problem)) == 401 else {}


def tell(problem: BaseException, request_id: str) -> None:
    """Log where something broke: classes and places, no values."""
    lines: list[str] = []
    link: BaseException | None = problem
    while link is not None and len(lines) < 100:
        lines.append(f"{type(link).__module__}.{type(link).__qualname__}")
        frames = traceback.extract_tb(link.__traceback__)[-15:]
        lines += [f"  at {frame.name} ({frame.filename}:{frame.lineno})" for frame in frames]
        link = link.__cause__ or link.__context__
    _log.error("request %s broke:\n%s", request_id, "\n".join(lines))
