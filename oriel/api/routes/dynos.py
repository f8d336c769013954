"""Owns the doors to running dynos. Restarting and stopping by type is at `formations`, in the
plural, because that is what the official command line asks for.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.responses import Response

from oriel import faults
from oriel.api import portraits, representations, waits
from oriel.api.bodies import Body
from oriel.api.doors import Call, Door, reply
from oriel.control import access, card, dynos, history, oneoff
from oriel.control import exec as execs
from oriel.control.oneoff import Ask, Started
from oriel.manifold import Window

AT_HEADER = "Oriel-At"


async def show_all(call: Call) -> Response:
    """Every dyno of an app, now or `at` a time, an age, a release; `usage` adds what each takes."""
    app = await access.app_of(call.world, call.actor, call.path("app"))
    await waits.check(call, app)
    extended = call.flag("extended")
    at = call.query("at")
    if at:
        past = await history.at(call.world, call.actor, app.id, at)
        shown = [representations.dyno(each, app.name, extended=extended) for each in past.dynos]
        return reply(shown, headers={AT_HEADER: representations.exact(past.at)})
    found = dynos.shown(call.world, app)
    shown = [representations.dyno(each, app.name, extended=extended) for each in found]
    if call.flag("usage"):
        shown = portraits.used(shown, await card.loads(call.world, app.id))
    return reply(shown)


async def show(call: Call) -> Response:
    """One dyno, by name or id."""
    app = await access.app_of(call.world, call.actor, call.path("app"))
    named = call.path("dyno")
    for each in dynos.shown(call.world, app):
        shown = representations.dyno(each, app.name)
        if named in (shown["name"], shown["id"], each.instance):
            return reply(shown)
    raise faults.NotFound("Couldn't find that dyno.", resource="dyno", app=app.name)


async def restart_all(call: Call) -> Response:
    """Restart every dyno."""
    return _done(await dynos.restart(call.world, call.actor, call.path("app"), None))


async def restart(call: Call) -> Response:
    """Restart a dyno, or those of a type."""
    named = call.path("dyno")
    return _done(await dynos.restart(call.world, call.actor, call.path("app"), named))


async def stop(call: Call) -> Response:
    """Stop a dyno, or those of a type."""
    return _done(await dynos.stop(call.world, call.actor, call.path("app"), call.path("dyno")))


def _done(names: Iterable[str]) -> Response:
    return reply({"oriel": {"dynos": list(names)}}, 202)


async def run(call: Call) -> Response:
    """Run a one-off dyno."""
    # First of all: of an app of somebody else's nothing is said, not even what was wrong.
    await access.app_of(call.world, call.actor, call.path("app"))
    ask = _ask(call.body, attach=call.body.optional_flag("attach") or False)
    started = await oneoff.run(call.world, call.actor, call.path("app"), ask)
    return reply(_started(call, started), 201)


async def run_inside(call: Call) -> Response:
    """Run a command inside a running dyno; its client is always attached."""
    await access.app_of(call.world, call.actor, call.path("app"))
    ask = _ask(call.body, attach=True)
    started = await execs.enter(call.world, call.actor, call.path("app"), call.path("dyno"), ask)
    return reply(_started(call, started), 201)


async def authority(call: Call) -> Response:
    """The certificate that clients of the rendezvous have to trust."""
    return reply({"certificate": _certificate(call)})


def _certificate(call: Call) -> str:
    if call.world.authority is None:
        raise faults.NotFound("This platform has no authority of its own.", resource="authority")
    return call.world.authority.certificate


def _ask(body: Body, *, attach: bool) -> Ask:
    env = _env(body.values.get("env") or {})
    time_to_live_s = body.optional_number("time_to_live")
    return Ask(
        command=body.text("command", hint="As in: oriel run bash"),
        attach=attach,
        env=env,
        window=None if body.optional_flag("force_no_tty") else _window(body, env),
        # A terminal's size is told by who has one.
        piped="COLUMNS" not in env and "window" not in body,
        size=body.reference("size"),
        type=body.reference("type") or oneoff.TYPE,
        time_to_live_s=oneoff.TIME_TO_LIVE_MAX_S if time_to_live_s is None else time_to_live_s,
    )


def _env(given: object) -> dict[str, str]:
    """Variables; Heroku's command line sends COLUMNS and LINES as numbers."""
    if isinstance(given, dict) and all(type(each) in (str, int) for each in given.values()):
        return {name: str(value) for name, value in given.items()}
    raise faults.Invalid('"env" has to be an object of texts, as in {"NAME": "value"}.')


def _window(body: Body, env: dict[str, str]) -> Window:
    """The client's window: its own words, or what Heroku's command line puts into `env`."""
    given = body.values.get("window")
    own = Body(given) if isinstance(given, dict) else Body({})
    default = Window()
    columns = own.optional_number("columns") or _small(env.get("COLUMNS")) or default.columns
    lines = own.optional_number("lines") or _small(env.get("LINES")) or default.lines
    return Window(min(columns, 10_000), min(lines, 10_000))


def _small(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 6 else 0


def _started(call: Call, started: Started) -> dict[str, object]:
    shown = representations.dyno(started.dyno, started.app.name)
    if started.meeting is not None:
        shown["attach_url"] = started.meeting.url
        shown["oriel"]["authority"] = _certificate(call)
    return shown


DOORS = (
    Door("GET", "/apps/{app}/dynos", show_all),
    Door("POST", "/apps/{app}/dynos", run),
    Door("DELETE", "/apps/{app}/dynos", restart_all),
    Door("GET", "/apps/{app}/dynos/{dyno}", show),
    Door("POST", "/apps/{app}/dynos/{dyno}", run_inside),
    Door("DELETE", "/apps/{app}/dynos/{dyno}", restart),
    Door("POST", "/apps/{app}/dynos/{dyno}/actions/stop", stop),
    Door("DELETE", "/apps/{app}/formations/{dyno}", restart),
    Door("POST", "/apps/{app}/formations/{dyno}/actions/stop", stop),
    Door("GET", "/oriel/authority", authority),
)
