"""Owns a call's way to its verb and the answer's way back: one `Door` for each method and path.

In order: is there such a door, who knocks, what do they bring, was this very call answered
before; then the handler; then whatever it raised, as the table of faults says. Must not know what
any door is for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from oriel import faults
from oriel.api import auth, bodies, ranges
from oriel.api import faults as table
from oriel.api.bodies import Body
from oriel.api.repeats import Repeats, key_of
from oriel.control import accounts
from oriel.control.accounts import Login
from oriel.control.world import World
from oriel.lexicon import Actor


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way to a verb."""

    world: World
    request: Request
    login: Login | None
    body: Body

    @property
    def actor(self) -> Actor:
        """Who calls, in the verbs' words."""
        me = self.me
        return Actor(me.account.id, me.account.email, "api", self.request_id)

    @property
    def me(self) -> Login:
        """The caller's account and token; every door that is not open has them."""
        if self.login is None:
            raise auth.nobody()
        return self.login

    @property
    def request_id(self) -> str:
        """The id of this request, as `guard` chose it."""
        return request_id(self.request.scope)

    @property
    def address(self) -> str:
        """Where the caller's connection comes from."""
        return self.request.client.host if self.request.client else ""

    def path(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])

    def query(self, name: str) -> str | None:
        """A query parameter; the last one of several."""
        return self.request.query_params.get(name)

    def flag(self, name: str) -> bool:
        """Whether a query parameter says yes."""
        return (self.query(name) or "").lower() in ("1", "true", "yes")


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Door:
    """A method, a path, and what is done there. An open one asks for no token."""

    method: str
    path: str
    handler: Handler
    open: bool = False


def reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An answer that a verb gave."""
    return JSONResponse(value, status, headers)


def reply_page(page: ranges.Page[Any], represent: Callable[[Any], Any]) -> JSONResponse:
    """A part of a list, with the headers that lead to the next one."""
    headers = {"Accept-Ranges": "id, name, version"}
    if page.content:
        headers["Content-Range"] = page.content
    if page.next:
        headers["Next-Range"] = str(page.next)
    values = [represent(item) for item in page.items]
    return JSONResponse(values, 206 if page.next else 200, headers)


def request_id(scope: Scope) -> str:
    """The id that `guard` gave a request."""
    return str(scope.get("oriel.request_id", ""))


def routes(world: World, doors: Iterable[Door], repeats: Repeats) -> list[Route]:
    """The doors as Starlette's routes: one for each path, whatever its methods."""
    by_path: dict[str, dict[str, Door]] = {}
    for door in doors:
        by_path.setdefault(door.path, {})[door.method] = door
    return [Route(path, _Hall(world, found, repeats)) for path, found in by_path.items()]


class _Hall:
    """All doors of one path, as an ASGI application."""

    def __init__(self, world: World, doors: Mapping[str, Door], repeats: Repeats) -> None:
        self._world = world
        self._doors = doors
        self._repeats = repeats

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except Exception as problem:
            response = table.answer(problem, request_id(scope))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        door = self._door(request)
        login = None if door.open else await identified(self._world, request)
        raw = await bodies.read(request)
        call = Call(self._world, request, login, Body.parse(raw))
        if request.method in ("GET", "HEAD"):
            return await door.handler(call)
        sent_id = str(request.scope.get("oriel.sent_id", ""))
        if not sent_id:
            return await door.handler(call)
        caller = request.headers.get("authorization", "")
        target = request.url.path + "?" + request.url.query
        key = key_of(sent_id, caller, request.method, target, raw)

        async def work() -> Response:
            return await door.handler(call)

        return await self._repeats.once(key, work)

    def _door(self, request: Request) -> Door:
        if not request.url.path.isprintable():
            raise faults.BadRequest("The path holds a character that no name has.")
        method = "GET" if request.method == "HEAD" else request.method
        door = self._doors.get(method)
        if door is None:
            raise table.MethodUnknown(request.method, request.url.path, self._doors)
        return door


async def identified(world: World, request: Request, method: str | None = None) -> Login:
    """Who makes a call; Unauthorized, or Forbidden where the token is not good for it.

    `method` is what the call comes to, where its own says nothing: git fetches with a POST.
    """
    credentials = auth.read(request.headers.get("authorization"))
    if credentials is None:
        raise auth.nobody()
    login = await accounts.identify(world, credentials.secret)
    if login is None:
        raise auth.unknown()
    if not auth.allows(login.token.scopes, method or request.method, request.url.path):
        raise faults.Forbidden(
            f"This token is limited to {', '.join(login.token.scopes) or 'nothing'}.",
            hint="Log in for a token without limits: oriel login",
        )
    return login
