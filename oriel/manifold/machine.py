"""Owns the life of one dyno instance: states, events, what each leads to. Pure.

Everything that changes a state is in `TABLE`; an event that a state has no row for is old news (a
timer that rang too late) and changes nothing. Must not know time, processes or SQL: time comes in
as events, and what is to be done goes out as orders. The states' names are the words that users
see. If you add a state, also draw it in docs and map it in `api`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from oriel.sandbox.confinement import Exit

State = Literal["new", "starting", "up", "stopping", "crashed", "complete", "down"]
Fate = Literal["restart", "down"]
"""What is meant to follow a stop: another instance in its place, or nothing."""

ENDED: frozenset[State] = frozenset({"crashed", "complete", "down"})
"""No process is left. One that has crashed may still be laid down, when it is wanted no more."""

BOOT_ERROR = (
    "Error R10 (Boot timeout) -> Web process failed to bind to $PORT within {:.0f} seconds of "
    "launch"
)
EXIT_ERROR = (
    "Error R12 (Exit timeout) -> At least one process failed to exit within {:.0f} seconds of "
    "SIGTERM"
)

ATTACH_ERROR = "Error R13 (Attach error) -> Failed to attach to process"
DETACH_ERROR = (
    "Error R16 (Detached) -> An attached process is not responding to SIGHUP after its external "
    "connection was closed."
)
AWAITING = "awaiting its client"
"""The reason of one that is up without running: its client has not come yet."""


@dataclass(frozen=True, slots=True)
class Life:
    """Where an instance stands."""

    state: State = "new"
    is_web: bool = False
    once: bool = False
    """A one-off: its end is `complete`, whatever its status."""
    named: bool = False
    """A one-off that a user asked for, and is told of as Heroku does; not a release command."""
    before: str = ""
    """The state of the instance whose place it took; empty for the first."""
    reason: str = ""
    """Why it is in that state, in words."""
    fate: Fate | None = None
    """None until it is asked to stop."""
    stopped_in: State = "up"
    """Where it stood when it was asked to stop; a one-off's last line names it."""
    attached: bool = False
    """Its client's: it is up, and not yet run, until the client has come."""
    doomed: bool = False
    """It took too long, to boot or to end without its client, and is being killed."""

    @property
    def is_awaiting(self) -> bool:
        """Whether its client has not come yet; nothing of it runs."""
        return self.attached and self.state == "up" and self.reason == AWAITING


# Events: what happened.
@dataclass(frozen=True, slots=True)
class Begun:
    """It is to be started with this command, as it is shown."""

    shown: str


@dataclass(frozen=True, slots=True)
class NotLaunched:
    """It could not be started."""

    why: str


@dataclass(frozen=True, slots=True)
class Ready:
    """Its port accepted a connection, or it has been alive for a moment."""


@dataclass(frozen=True, slots=True)
class BootTimedOut:
    """It did not become ready in time."""

    timeout_s: float


@dataclass(frozen=True, slots=True)
class StopAsked:
    """It should end: to make room for another (`restart`), or for good (`down`)."""

    fate: Fate
    reason: str


@dataclass(frozen=True, slots=True)
class ExitTimedOut:
    """It did not end in time after SIGTERM."""

    timeout_s: float


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing of it is left."""

    exit: Exit


@dataclass(frozen=True, slots=True)
class Attached:
    """The client of an attached one has come; it is to be run with this command, as shown."""

    shown: str


@dataclass(frozen=True, slots=True)
class AttachTimedOut:
    """Its client did not come."""

    timeout_s: float


@dataclass(frozen=True, slots=True)
class HungUp:
    """Its client is gone, or was silent for too long."""

    why: str


@dataclass(frozen=True, slots=True)
class NotDetached:
    """It did not end though it was told several times that its client is gone."""


Event = (
    Begun
    | NotLaunched
    | Ready
    | BootTimedOut
    | StopAsked
    | ExitTimedOut
    | Ended
    | Attached
    | AttachTimedOut
    | HungUp
    | NotDetached
)


# Orders: what to do.
@dataclass(frozen=True, slots=True)
class Launch:
    """Start it, and tell when it is ready, timed out or ended."""


@dataclass(frozen=True, slots=True)
class Terminate:
    """SIGTERM to all of its processes; tell when that took too long."""


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL."""


@dataclass(frozen=True, slots=True)
class Say:
    """A line of the platform's about it."""

    text: str
    last: bool = False
    """Whether it must come behind everything that the dyno itself said."""


@dataclass(frozen=True, slots=True)
class Await:
    """Be ready for its client; say when that is so."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """SIGHUP to all of its processes."""


Order = Launch | Terminate | Kill | Say | Await | HangUp
Step = tuple[Life, tuple[Order, ...]]


def step(life: Life, event: Event) -> Step:
    """What an event makes of an instance, and what is to be done about it."""
    row = TABLE.get((life.state, type(event)))
    return row(life, event) if row else (life, ())


def _begin(life: Life, event: Event) -> Step:
    assert isinstance(event, Begun)  # noqa: S101 - for the type checker; the table says so
    begun = replace(life, state="starting")
    if life.attached:
        return begun, (Await(),)
    if life.once and life.named:
        return begun, (Say(_starting(event.shown)), Launch())
    lines: tuple[Order, ...] = (Say(f"Starting process with command: `{event.shown}`"),)
    if life.before:
        lines = (Say(_changed(life.before, "starting")), *lines)
    return begun, (*lines, Launch())


def _not_launched(life: Life, event: Event) -> Step:
    assert isinstance(event, NotLaunched)  # noqa: S101
    reason = life.reason or f"could not be launched: {event.why}"
    ended = replace(life, state=_end_state(life), reason=reason)
    error = Say(f"Error R99 (Platform error) -> Failed to launch the dyno: {event.why}", last=True)
    return ended, (error, *_end_line(life, ended))


def _ready(life: Life, _: Event) -> Step:
    if life.doomed:
        return life, ()
    up: tuple[Order, ...] = (Say(_changed("starting", "up")),)
    if life.attached:
        return replace(life, state="up", reason=AWAITING), (*up, Say("Awaiting client"))
    return replace(life, state="up", reason=""), up


def _attached(life: Life, event: Event) -> Step:
    assert isinstance(event, Attached)  # noqa: S101
    if not life.is_awaiting:
        return life, ()
    return replace(life, reason=""), (Say(_starting(event.shown)), Launch())


def _attach_timed_out(life: Life, event: Event) -> Step:
    assert isinstance(event, AttachTimedOut)  # noqa: S101
    if not life.is_awaiting:
        return life, ()
    reason = f"no client came within {event.timeout_s:.0f} s (R13)"
    return _end_unrun(life, reason, Say(ATTACH_ERROR))


def _end_unrun(life: Life, reason: str, *lines: Order) -> Step:
    """The end of one of which nothing ever ran. Its last line waits for words that never come, so
    that it is cleaned away as any other.
    """
    ended = replace(life, state="complete", reason=reason)
    return ended, (*lines, Say(_changed("up", "complete"), last=True))


def _hung_up(life: Life, event: Event) -> Step:
    assert isinstance(event, HungUp)  # noqa: S101
    told = replace(life, reason=life.reason or event.why)
    return told, (Say("Client connection closed. Sending SIGHUP to all processes"), HangUp())


def _not_detached(life: Life, _: Event) -> Step:
    if life.doomed:
        return life, ()
    reason = f"{life.reason}; killed, since it did not end on SIGHUP (R16)"
    return replace(life, reason=reason, doomed=True), (Say(DETACH_ERROR), Kill())


def _boot_timed_out(life: Life, event: Event) -> Step:
    assert isinstance(event, BootTimedOut)  # noqa: S101
    if life.doomed:
        return life, ()
    error = BOOT_ERROR.format(event.timeout_s)
    reason = f"did not bind to its port within {event.timeout_s:.0f} s (R10)"
    late = replace(life, doomed=True, reason=reason)
    return late, (Say(error), Say("Stopping process with SIGKILL"), Kill())


def _stop(life: Life, event: Event) -> Step:
    assert isinstance(event, StopAsked)  # noqa: S101
    if life.is_awaiting:
        return _end_unrun(replace(life, fate=event.fate), event.reason)
    stopping = replace(
        life, state="stopping", stopped_in=life.state, fate=event.fate, reason=event.reason
    )
    lines: tuple[Order, ...] = ()
    if event.fate == "restart":
        lines = (Say("Restarting"), Say(_changed(life.state, "starting")))
    elif not life.once:
        lines = (Say(_changed(life.state, "down")),)
    return stopping, (*lines, Say("Stopping all processes with SIGTERM"), Terminate())


def _stop_again(life: Life, event: Event) -> Step:
    assert isinstance(event, StopAsked)  # noqa: S101
    return replace(life, fate=event.fate, reason=event.reason), ()


def _exit_timed_out(life: Life, event: Event) -> Step:
    assert isinstance(event, ExitTimedOut)  # noqa: S101
    error = EXIT_ERROR.format(event.timeout_s)
    reason = f"{life.reason}; killed {event.timeout_s:.0f} s after SIGTERM (R12)"
    orders = (Say(error), Say("Stopping remaining processes with SIGKILL"), Kill())
    return replace(life, reason=reason), orders


def _ended(life: Life, event: Event) -> Step:
    assert isinstance(event, Ended)  # noqa: S101
    if life.is_awaiting:
        return _end_unrun(life, "the platform was restarted before its client came")
    ended = replace(life, state=_end_state(life), reason=life.reason or how(event.exit))
    return ended, (Say(_exited(event.exit), last=True), *_end_line(life, ended))


def _lay_down(life: Life, event: Event) -> Step:
    assert isinstance(event, StopAsked)  # noqa: S101
    if event.fate == "restart":
        return life, ()
    down = replace(life, state="down", fate="down", reason=event.reason)
    return down, (Say(_changed("crashed", "down")),)


def _end_state(life: Life) -> State:
    if life.once:
        return "complete"
    return "down" if life.state == "stopping" else "crashed"


def _end_line(life: Life, ended: Life) -> tuple[Order, ...]:
    """The change of state at the end, where it has not been said when the stop began."""
    if life.state == "stopping" and not life.once:
        return ()
    before = life.stopped_in if life.state == "stopping" else life.state
    return (Say(_changed(before, ended.state)),)


def how(exit_: Exit) -> str:
    """How it ended, in words."""
    if exit_.code is None:
        return "ended, with a status that is not known"
    if exit_.signal in set(signal.Signals):
        return f"exited with status {exit_.code} ({signal.Signals(exit_.signal).name})"
    return f"exited with status {exit_.code}"


def _exited(exit_: Exit) -> str:
    return "Process exited" if exit_.code is None else f"Process exited with status {exit_.code}"


def _starting(shown: str) -> str:
    """How a one-off's start is told (heroku-facts D2); a dyno's has a colon."""
    return f"Starting process with command `{shown}`"


def _changed(before: str, after: str) -> str:
    return f"State changed from {before} to {after}"


TABLE: dict[tuple[State, type], Callable[[Life, Event], Step]] = {
    ("new", Begun): _begin,
    ("starting", NotLaunched): _not_launched,
    ("starting", Ready): _ready,
    ("starting", BootTimedOut): _boot_timed_out,
    ("starting", StopAsked): _stop,
    ("starting", Ended): _ended,
    ("up", StopAsked): _stop,
    ("up", Ended): _ended,
    ("up", NotLaunched): _not_launched,
    ("up", Attached): _attached,
    ("up", AttachTimedOut): _attach_timed_out,
    ("up", HungUp): _hung_up,
    ("up", NotDetached): _not_detached,
    ("stopping", HungUp): _hung_up,
    ("stopping", NotDetached): _not_detached,
    ("stopping", NotLaunched): _not_launched,
    ("stopping", StopAsked): _stop_again,
    ("stopping", ExitTimedOut): _exit_timed_out,
    ("stopping", Ended): _ended,
    ("crashed", StopAsked): _lay_down,
}
