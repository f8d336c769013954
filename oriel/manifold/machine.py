"""Owns the life of one dyno instance: states, events, what each leads to. Pure.

Everything that changes a state is in `TABLE`; an event that a state has no row for is old news (a
timer that rang too late) and changes nothing. Must not know time, processes or SQL: time comes in
as events, and what is to be done goes out as orders. The states' names are the words that users
see. If you add a state or a path between two, add its arrow to `drawing` and map it in `api`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from oriel.manifold.cause import MEBIBYTE, Cause, Kind
from oriel.sandbox.confinement import Exit

State = Literal[
    "new", "starting", "up", "idle", "restarting", "stopping", "crashed", "complete", "down"
]
Fate = Literal["restart", "down", "idle"]
"""What is meant to follow a stop: another instance in its place, nothing, or one when a request
comes.
"""

ENDED: frozenset[State] = frozenset({"crashed", "complete", "down", "idle"})
"""No process is left. One that has crashed or is idle may still be laid down, when it is wanted no
more.
"""

LEAVING: frozenset[State] = frozenset({"restarting", "stopping"})
"""It was told to end, and has not yet."""

BEGUN: frozenset[State] = frozenset({"new", "starting", "up"})

BOOT_ERROR = (
    "Error R10 (Boot timeout) -> Web process failed to bind to $PORT within {:.0f} seconds of "
    "launch"
)
CHECK_ERROR = (
    "Error R10 (Boot timeout) -> Web process failed to answer GET {} with 2xx or 3xx within "
    "{:.0f} seconds of launch"
)
PORT_HINT = (
    "Error R11 (Bad bind) -> Process bound to port {}, should be {} (see environment variable PORT)"
)
HOST_HINT = "Error R11 (Bad bind) -> Process bound to host {}, should be 0.0.0.0"
EXIT_ERROR = (
    "Error R12 (Exit timeout) -> At least one process failed to exit within {:.0f} seconds of "
    "SIGTERM"
)
ATTACH_ERROR = "Error R13 (Attach error) -> Failed to attach to process"
DETACH_ERROR = (
    "Error R16 (Detached) -> An attached process is not responding to SIGHUP after its external "
    "connection was closed."
)
MEMORY_LINE = "Process running mem={}M({:.1f}%)"
MEMORY_ERROR = "Error R14 (Memory quota exceeded)"
MEMORY_END = "Error R15 (Memory quota vastly exceeded)"
LAUNCH_ERROR = "Error R99 (Platform error) -> Failed to launch the dyno: {}"
KILL_LINE = "Stopping process with SIGKILL"

_TOLD: frozenset[Kind] = frozenset({"awaiting", "hung_up"})
"""Why one is up, where a user wants to see it."""


@dataclass(frozen=True, slots=True)
class Life:
    """Where an instance stands."""

    state: State = "new"
    is_web: bool = False
    once: bool = False
    """A one-off: its end is `complete`, whatever its status."""
    named: bool = False
    """A one-off that a user asked for, and is told of as Heroku does; not a release command."""
    attached: bool = False
    """Its streams are a client's: it is up, and not yet run, until that has come."""
    before: str = ""
    """The state of the instance whose place it took; empty where that has been told already."""
    cause: Cause = field(default_factory=lambda: Cause("noted"))
    """Why it is in that state."""
    fate: Fate | None = None
    """None until it is asked to stop."""
    stopped_in: State = "up"
    """Where it stood when it was asked to stop; a one-off's last line names it."""
    doomed: bool = False
    """It is being killed, for its boot, its memory or its client's going: that it is ready now
    changes nothing.
    """
    hinted: bool = False
    """It was told that it listens where nobody looks."""

    @property
    def reason(self) -> str:
        """Why, in words, as far as there is something to say: not of one that does well."""
        does_well = self.state in BEGUN and not self.doomed and self.cause.kind not in _TOLD
        return "" if does_well else self.cause.words

    @property
    def is_unrun(self) -> bool:
        """Whether its client has not come yet; nothing of it runs."""
        awaits = self.state == "up" and self.cause.kind == "awaiting"
        return self.attached and (awaits or self.state == "starting")


# Events: what happened.
@dataclass(frozen=True, slots=True)
class Begun:
    """It is to be started with this command, as it is shown."""

    shown: str
    cause: Cause = field(default_factory=lambda: Cause("asked"))


@dataclass(frozen=True, slots=True)
class NotLaunched:
    """It could not be started."""

    why: str


@dataclass(frozen=True, slots=True)
class Ready:
    """Its port accepted a connection, its check was answered, or it has been alive for a moment."""


@dataclass(frozen=True, slots=True)
class BootTimedOut:
    """It did not become ready in time; `path` is what it was asked for, empty for its port."""

    timeout_s: float
    path: str = ""


@dataclass(frozen=True, slots=True)
class Misbound:
    """It has taken half of its time to boot, and listens elsewhere: on another port, or only on
    a host where nobody reaches it.
    """

    wanted_port: int
    port: int
    host: str


@dataclass(frozen=True, slots=True)
class OverQuota:
    """It uses more memory than its size has; `vastly`: so much that it must end."""

    memory_bytes: int
    quota_bytes: int
    vastly: bool


@dataclass(frozen=True, slots=True)
class StopAsked:
    """It should end: to make room for another (`restart`), for good (`down`), or until a request
    comes (`idle`).
    """

    fate: Fate
    cause: Cause


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
    | Misbound
    | OverQuota
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
    routine: bool = False
    """Whether it can be left out where the same happens again and again."""


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
    begun = replace(life, state="starting", cause=event.cause)
    if life.attached:
        return begun, (Await(),)
    if life.named:
        return begun, (Say(_starting(event.shown)), Launch())
    lines: list[Order] = [Say(f"Starting process with command: `{event.shown}`", routine=True)]
    if life.before:
        lines.insert(0, _changed("down" if life.before == "idle" else life.before, "starting"))
    if event.cause.kind == "woken":
        lines.insert(0, Say("Unidling"))
    return begun, (*lines, Launch())


def _never_begun(life: Life, event: Event) -> Step:
    assert isinstance(event, StopAsked)  # noqa: S101
    down = replace(life, state="down", stopped_in="new", fate=event.fate, cause=event.cause)
    return down, ()


def _not_launched(life: Life, event: Event) -> Step:
    assert isinstance(event, NotLaunched)  # noqa: S101
    cause = life.cause if life.state in LEAVING else Cause("not_launched", why=event.why)
    ended = replace(life, state=_end_state(life), cause=cause)
    return ended, (Say(LAUNCH_ERROR.format(event.why), last=True), *_end_line(life, ended))


def _ready(life: Life, _: Event) -> Step:
    if life.doomed:
        return life, ()
    if life.attached:
        return _await_client(life)
    return replace(life, state="up", cause=Cause("ready")), (_changed("starting", "up"),)


def _await_client(life: Life) -> Step:
    lines = (_changed("starting", "up"), Say("Awaiting client"))
    return replace(life, state="up", cause=Cause("awaiting")), lines


def _attached(life: Life, event: Event) -> Step:
    assert isinstance(event, Attached)  # noqa: S101
    if not life.is_unrun:
        return life, ()
    # A client may be quicker than our own disk, and come before it was told that it may.
    early = _await_client(life)[1] if life.state == "starting" else ()
    running = replace(life, state="up", cause=Cause("attached"))
    return running, (*early, Say(_starting(event.shown)), Launch())


def _attach_timed_out(life: Life, event: Event) -> Step:
    assert isinstance(event, AttachTimedOut)  # noqa: S101
    if not life.is_unrun:
        return life, ()
    return _end_unrun(life, Cause("no_client", timeout_s=event.timeout_s), Say(ATTACH_ERROR))


def _end_unrun(life: Life, cause: Cause, *lines: Order) -> Step:
    """The end of one of which nothing ever ran. Its last line waits for words that never come, so
    that it is cleaned away as any other.
    """
    ended = replace(life, state="complete", cause=cause)
    return ended, (*lines, replace(_changed(life.state, "complete"), last=True))


def _hung_up(life: Life, event: Event) -> Step:
    assert isinstance(event, HungUp)  # noqa: S101
    known = life.state in LEAVING or life.doomed or life.cause.kind == "hung_up"
    told = life if known else replace(life, cause=Cause("hung_up", why=event.why))
    return told, (Say("Client connection closed. Sending SIGHUP to all processes"), HangUp())


def _not_detached(life: Life, _: Event) -> Step:
    if life.doomed:
        return life, ()
    late = replace(life, cause=Cause("not_detached", first=life.cause), doomed=True)
    return late, (Say(DETACH_ERROR), Kill())


def _boot_timed_out(life: Life, event: Event) -> Step:
    assert isinstance(event, BootTimedOut)  # noqa: S101
    if life.doomed:
        return life, ()
    error = (
        CHECK_ERROR.format(event.path, event.timeout_s)
        if event.path
        else BOOT_ERROR.format(event.timeout_s)
    )
    cause = Cause("boot_timeout", timeout_s=event.timeout_s, why=event.path)
    return replace(life, doomed=True, cause=cause), (Say(error), Say(KILL_LINE), Kill())


def _misbound(life: Life, event: Event) -> Step:
    assert isinstance(event, Misbound)  # noqa: S101
    if life.doomed or life.hinted:
        return life, ()
    is_port = event.port != event.wanted_port
    hint = (
        PORT_HINT.format(event.port, event.wanted_port) if is_port else HOST_HINT.format(event.host)
    )
    return replace(life, hinted=True), (Say(hint),)


def _over_quota(life: Life, event: Event) -> Step:
    assert isinstance(event, OverQuota)  # noqa: S101
    if life.doomed:
        return life, ()
    part = 100 * event.memory_bytes / event.quota_bytes
    line = Say(MEMORY_LINE.format(event.memory_bytes // MEBIBYTE, part))
    if not event.vastly:
        return life, (line, Say(MEMORY_ERROR))
    cause = Cause("memory_quota", memory_bytes=event.memory_bytes, quota_bytes=event.quota_bytes)
    late = replace(life, doomed=True, cause=cause)
    return late, (line, Say(MEMORY_END), Say(KILL_LINE), Kill())


def _stop(life: Life, event: Event) -> Step:
    assert isinstance(event, StopAsked)  # noqa: S101
    if life.is_unrun:
        return _end_unrun(replace(life, fate=event.fate), event.cause)
    stopping = replace(
        life,
        state=_leaving(life, event.fate),
        stopped_in=life.state,
        fate=event.fate,
        cause=event.cause,
    )
    lines: tuple[Order, ...] = ()
    if life.once:
        pass
    elif event.fate == "restart":
        word = "Cycling" if event.cause.kind == "cycled" else "Restarting"
        lines = (Say(word), _changed(life.state, "starting"))
    else:
        lines = (Say("Idling"),) if event.fate == "idle" else ()
        lines = (*lines, _changed(life.state, "down"))
    return stopping, (*lines, Say("Stopping all processes with SIGTERM"), Terminate())


def _stop_otherwise(life: Life, event: Event) -> Step:
    """Something else is to follow the stop that is under way; idling is too late for that."""
    assert isinstance(event, StopAsked)  # noqa: S101
    if event.fate == "idle":
        return life, ()
    state = _leaving(life, event.fate)
    told: dict[State, str] = {"restarting": "starting", "stopping": "down"}
    lines = () if state == life.state else (_changed(told[life.state], told[state]),)
    return replace(life, state=state, fate=event.fate, cause=event.cause), lines


def _exit_timed_out(life: Life, event: Event) -> Step:
    assert isinstance(event, ExitTimedOut)  # noqa: S101
    cause = Cause("exit_timeout", timeout_s=event.timeout_s, first=life.cause)
    error = EXIT_ERROR.format(event.timeout_s)
    orders = (Say(error), Say("Stopping remaining processes with SIGKILL"), Kill())
    return replace(life, cause=cause), orders


def _ended(life: Life, event: Event) -> Step:
    assert isinstance(event, Ended)  # noqa: S101
    if life.is_unrun:
        why = "the platform was restarted before its client came"
        return _end_unrun(life, Cause("interrupted", why=why))
    known = life.doomed or life.state in LEAVING or life.cause.kind == "hung_up"
    cause = life.cause.ended(event.exit) if known else Cause.of_exit(event.exit)
    ended = replace(life, state=_end_state(life), cause=cause)
    killed = (Say(MEMORY_END, last=True),) if cause.kind == "out_of_memory" else ()
    return ended, (*killed, Say(_exited(event.exit), last=True), *_end_line(life, ended))


def _lay_down(life: Life, event: Event) -> Step:
    assert isinstance(event, StopAsked)  # noqa: S101
    if event.fate != "down":
        return life, ()
    down = replace(life, state="down", fate="down", cause=event.cause)
    # An idle one has been told to be down already.
    return down, () if life.state == "idle" else (_changed("crashed", "down"),)


def _leaving(life: Life, fate: Fate) -> State:
    return "restarting" if fate == "restart" and not life.once else "stopping"


def _end_state(life: Life) -> State:
    if life.once:
        return "complete"
    if life.state in LEAVING:
        return "idle" if life.fate == "idle" else "down"
    return "crashed"


def _end_line(life: Life, ended: Life) -> tuple[Order, ...]:
    """The change of state at the end, where it has not been said when the stop began."""
    if life.state in LEAVING and not life.once:
        return ()
    before = life.stopped_in if life.state in LEAVING else life.state
    return (_changed(before, ended.state),)


def _exited(exit_: Exit) -> str:
    return "Process exited" if exit_.code is None else f"Process exited with status {exit_.code}"


def _starting(shown: str) -> str:
    """How a user's one-off is told to start (heroku-facts D2); a dyno's line has a colon."""
    return f"Starting process with command `{shown}`"


def _changed(before: str, after: str) -> Say:
    return Say(f"State changed from {before} to {after}", routine=True)


TABLE: dict[tuple[State, type], Callable[[Life, Event], Step]] = {
    ("new", Begun): _begin,
    ("new", StopAsked): _never_begun,
    ("starting", NotLaunched): _not_launched,
    ("starting", Ready): _ready,
    ("starting", BootTimedOut): _boot_timed_out,
    ("starting", Misbound): _misbound,
    ("starting", OverQuota): _over_quota,
    ("starting", Attached): _attached,
    ("starting", AttachTimedOut): _attach_timed_out,
    ("starting", StopAsked): _stop,
    ("starting", Ended): _ended,
    ("up", OverQuota): _over_quota,
    ("up", StopAsked): _stop,
    ("up", Ended): _ended,
    ("up", NotLaunched): _not_launched,
    ("up", Attached): _attached,
    ("up", AttachTimedOut): _attach_timed_out,
    ("up", HungUp): _hung_up,
    ("up", NotDetached): _not_detached,
    ("stopping", HungUp): _hung_up,
    ("stopping", NotDetached): _not_detached,
    ("restarting", NotLaunched): _not_launched,
    ("restarting", StopAsked): _stop_otherwise,
    ("restarting", ExitTimedOut): _exit_timed_out,
    ("restarting", Ended): _ended,
    ("stopping", NotLaunched): _not_launched,
    ("stopping", StopAsked): _stop_otherwise,
    ("stopping", ExitTimedOut): _exit_timed_out,
    ("stopping", Ended): _ended,
    ("crashed", StopAsked): _lay_down,
    ("idle", StopAsked): _lay_down,
}
