"""The life of one instance: every row of the table, with the lines that it says, and nothing
besides the table.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.manifold.cause import Cause
from oriel.manifold.machine import (
    ATTACH_ERROR,
    BEGUN,
    DETACH_ERROR,
    ENDED,
    LEAVING,
    TABLE,
    Attached,
    AttachTimedOut,
    Begun,
    BootTimedOut,
    Ended,
    Event,
    ExitTimedOut,
    Fate,
    HungUp,
    Kill,
    Launch,
    Life,
    Misbound,
    NotDetached,
    NotLaunched,
    Order,
    OverQuota,
    Ready,
    Say,
    State,
    StopAsked,
    Terminate,
    step,
)
from oriel.sandbox import Exit

from .stage import PATHS

LOST = Exit(None, lost=True)
R10 = "Error R10 (Boot timeout) -> Web process failed to bind to $PORT within 60 seconds of launch"
R12 = "Error R12 (Exit timeout) -> At least one process failed to exit within 30 seconds of SIGTERM"
R99 = "Error R99 (Platform error) -> Failed to launch the dyno: no room"
R15 = "Error R15 (Memory quota vastly exceeded)"
MIB = 1 << 20
SCALED = Cause("scaled", by="ned@foobazco.com")
STOPPED = Cause("stopped", by="kate")
REPLACED = Cause("new_release", release=74)
CYCLED = Cause("cycled")
IDLED = Cause("idled")
NEW = Life(is_web=True)
STARTING = Life("starting", is_web=True, cause=Cause("deployed", release=73))
UP = Life("up", is_web=True, cause=Cause("ready"))
RESTARTING = Life("restarting", is_web=True, fate="restart", cause=REPLACED)
STOPPING = Life("stopping", is_web=True, fate="down", cause=SCALED)
IDLING = Life("stopping", is_web=True, fate="idle", cause=IDLED)
IDLE = Life("idle", is_web=True, fate="idle", cause=IDLED)
CRASHED = Life("crashed", is_web=True, cause=Cause("exited", status=1))
ONCE = Life("up", once=True)
ONCE_STOPPING = Life("stopping", once=True, fate="down", cause=STOPPED, stopped_in="up")
ATTACHED = Life("up", once=True, attached=True, cause=Cause("attached"))
BEFORE = replace(ATTACHED, state="starting", cause=Cause("asked"))
AWAITING = replace(ATTACHED, cause=Cause("awaiting"))
ATTACHED_STOPPING = replace(ATTACHED, state="stopping", fate="down", cause=STOPPED, stopped_in="up")
KILLED_LINES = ["Stopping process with SIGKILL", "<Kill>"]
SIGTERM_LINES = ["Stopping all processes with SIGTERM", "<Terminate>"]


def spoken(orders: tuple[Order, ...]) -> list[str]:
    """Orders as words: lines as they are (`...` behind those that follow the last words)."""
    return [
        each.text + (" ..." if each.last else "")
        if isinstance(each, Say)
        else f"<{type(each).__name__}>"
        for each in orders
    ]


ROWS: list[tuple[Life, Event, State, str, list[str]]] = [
    (
        NEW,
        Begun("bundle exec thin start -p 38180 -e production"),
        "starting",
        "",
        [
            "Starting process with command: `bundle exec thin start -p 38180 -e production`",
            "<Launch>",
        ],
    ),
    (NEW, StopAsked("down", STOPPED), "down", "stopped by kate", []),
    (NEW, StopAsked("restart", REPLACED), "down", "replaced by v74", []),
    (
        Life(before="crashed"),
        Begun("rake", Cause("retried")),
        "starting",
        "",
        [
            "State changed from crashed to starting",
            "Starting process with command: `rake`",
            "<Launch>",
        ],
    ),
    (
        Life(before="idle"),
        Begun("rake", Cause("woken")),
        "starting",
        "",
        [
            "Unidling",
            "State changed from down to starting",
            "Starting process with command: `rake`",
            "<Launch>",
        ],
    ),
    (
        STARTING,
        NotLaunched("no room"),
        "crashed",
        "could not be launched: no room",
        [R99 + " ...", "State changed from starting to crashed"],
    ),
    (STARTING, Ready(), "up", "", ["State changed from starting to up"]),
    (
        STARTING,
        BootTimedOut(60),
        "starting",
        "did not bind to its port within 60 s (R10)",
        [R10, *KILLED_LINES],
    ),
    (
        STARTING,
        BootTimedOut(90, "/health"),
        "starting",
        "did not answer GET /health well within 90 s (R10)",
        [
            "Error R10 (Boot timeout) -> Web process failed to answer GET /health with 2xx or 3xx "
            "within 90 seconds of launch",
            *KILLED_LINES,
        ],
    ),
    (
        STARTING,
        Misbound(25162, 8000, "0.0.0.0"),
        "starting",
        "",
        [
            "Error R11 (Bad bind) -> Process bound to port 8000, should be 25162 (see environment "
            "variable PORT)"
        ],
    ),
    (
        STARTING,
        Misbound(25162, 25162, "127.0.0.1"),
        "starting",
        "",
        ["Error R11 (Bad bind) -> Process bound to host 127.0.0.1, should be 0.0.0.0"],
    ),
    (
        STARTING,
        OverQuota(1090 * MIB, 512 * MIB, vastly=True),
        "starting",
        "used 1090M of 512M memory (R15)",
        ["Process running mem=1090M(212.9%)", R15, *KILLED_LINES],
    ),
    (
        STARTING,
        StopAsked("down", SCALED),
        "stopping",
        "scaled down by ned@foobazco.com",
        ["State changed from starting to down", *SIGTERM_LINES],
    ),
    (
        STARTING,
        Ended(Exit(1)),
        "crashed",
        "exited with status 1",
        ["Process exited with status 1 ...", "State changed from starting to crashed"],
    ),
    (
        UP,
        OverQuota(int(545.8 * MIB), 512 * MIB, vastly=False),
        "up",
        "",
        ["Process running mem=545M(106.6%)", "Error R14 (Memory quota exceeded)"],
    ),
    (
        UP,
        OverQuota(1090 * MIB, 512 * MIB, vastly=True),
        "up",
        "used 1090M of 512M memory (R15)",
        ["Process running mem=1090M(212.9%)", R15, *KILLED_LINES],
    ),
    (
        UP,
        StopAsked("restart", REPLACED),
        "restarting",
        "replaced by v74",
        ["Restarting", "State changed from up to starting", *SIGTERM_LINES],
    ),
    (
        UP,
        StopAsked("restart", CYCLED),
        "restarting",
        "cycled after a day",
        ["Cycling", "State changed from up to starting", *SIGTERM_LINES],
    ),
    (
        UP,
        StopAsked("idle", IDLED),
        "stopping",
        "no requests came",
        ["Idling", "State changed from up to down", *SIGTERM_LINES],
    ),
    (
        UP,
        Ended(Exit(0)),
        "crashed",
        "exited with status 0",
        ["Process exited with status 0 ...", "State changed from up to crashed"],
    ),
    (
        UP,
        Ended(LOST),
        "crashed",
        "ended, with a status that is not known",
        ["Process exited ...", "State changed from up to crashed"],
    ),
    (
        UP,
        Ended(Exit(137, 9, out_of_memory=True)),
        "crashed",
        "ran out of memory (R15), exited with status 137 (SIGKILL)",
        [
            R15 + " ...",
            "Process exited with status 137 ...",
            "State changed from up to crashed",
        ],
    ),
    (RESTARTING, NotLaunched("no room"), "down", "replaced by v74", [R99 + " ..."]),
    (
        RESTARTING,
        StopAsked("down", STOPPED),
        "stopping",
        "stopped by kate",
        ["State changed from starting to down"],
    ),
    (RESTARTING, StopAsked("restart", CYCLED), "restarting", "cycled after a day", []),
    (
        RESTARTING,
        ExitTimedOut(30),
        "restarting",
        "replaced by v74; killed 30 s after SIGTERM (R12)",
        [R12, "Stopping remaining processes with SIGKILL", "<Kill>"],
    ),
    (
        RESTARTING,
        Ended(Exit.of(143)),
        "down",
        "replaced by v74",
        ["Process exited with status 143 ..."],
    ),
    (STOPPING, NotLaunched("no room"), "down", "scaled down by ned@foobazco.com", [R99 + " ..."]),
    (STOPPING, StopAsked("down", STOPPED), "stopping", "stopped by kate", []),
    (STOPPING, StopAsked("idle", IDLED), "stopping", "scaled down by ned@foobazco.com", []),
    (
        STOPPING,
        StopAsked("restart", REPLACED),
        "restarting",
        "replaced by v74",
        ["State changed from down to starting"],
    ),
    (
        STOPPING,
        ExitTimedOut(30),
        "stopping",
        "scaled down by ned@foobazco.com; killed 30 s after SIGTERM (R12)",
        [R12, "Stopping remaining processes with SIGKILL", "<Kill>"],
    ),
    (
        STOPPING,
        Ended(Exit.of(143)),
        "down",
        "scaled down by ned@foobazco.com",
        ["Process exited with status 143 ..."],
    ),
    (
        IDLING,
        Ended(Exit.of(143)),
        "idle",
        "no requests came",
        ["Process exited with status 143 ..."],
    ),
    (IDLE, StopAsked("down", SCALED), "down", "scaled down by ned@foobazco.com", []),
    (
        CRASHED,
        StopAsked("down", Cause("scaled", by="kate")),
        "down",
        "scaled down by kate",
        ["State changed from crashed to down"],
    ),
    (
        ONCE,
        Ended(Exit(0)),
        "complete",
        "exited with status 0",
        ["Process exited with status 0 ...", "State changed from up to complete"],
    ),
    (ONCE, StopAsked("down", STOPPED), "stopping", "stopped by kate", SIGTERM_LINES),
    (
        ONCE_STOPPING,
        Ended(Exit.of(143)),
        "complete",
        "stopped by kate",
        ["Process exited with status 143 ...", "State changed from up to complete"],
    ),
    (
        AWAITING,
        Attached("bash"),
        "up",
        "",
        ["Starting process with command `bash`", "<Launch>"],
    ),
    (
        BEFORE,
        Attached("bash"),
        "up",
        "",
        [
            "State changed from starting to up",
            "Awaiting client",
            "Starting process with command `bash`",
            "<Launch>",
        ],
    ),
    (
        BEFORE,
        AttachTimedOut(30),
        "complete",
        "no client came within 30 s (R13)",
        [ATTACH_ERROR, "State changed from starting to complete ..."],
    ),
    (
        BEFORE,
        StopAsked("down", STOPPED),
        "complete",
        "stopped by kate",
        ["State changed from starting to complete ..."],
    ),
    (
        BEFORE,
        Ended(LOST),
        "complete",
        "the platform was restarted before its client came",
        ["State changed from starting to complete ..."],
    ),
    (
        AWAITING,
        AttachTimedOut(30),
        "complete",
        "no client came within 30 s (R13)",
        [ATTACH_ERROR, "State changed from up to complete ..."],
    ),
    (
        AWAITING,
        StopAsked("down", STOPPED),
        "complete",
        "stopped by kate",
        ["State changed from up to complete ..."],
    ),
    (
        AWAITING,
        Ended(LOST),
        "complete",
        "the platform was restarted before its client came",
        ["State changed from up to complete ..."],
    ),
    (
        ATTACHED,
        NotLaunched("no room"),
        "complete",
        "could not be launched: no room",
        [
            "Error R99 (Platform error) -> Failed to launch the dyno: no room ...",
            "State changed from up to complete",
        ],
    ),
    (
        ATTACHED,
        HungUp("its client has gone"),
        "up",
        "its client has gone",
        ["Client connection closed. Sending SIGHUP to all processes", "<HangUp>"],
    ),
    (
        replace(ATTACHED, cause=Cause("hung_up", why="its client has gone")),
        NotDetached(),
        "up",
        "its client has gone; killed, since it did not end on SIGHUP (R16)",
        [DETACH_ERROR, "<Kill>"],
    ),
    (
        ATTACHED_STOPPING,
        HungUp("its client has gone"),
        "stopping",
        "stopped by kate",
        ["Client connection closed. Sending SIGHUP to all processes", "<HangUp>"],
    ),
    (
        ATTACHED_STOPPING,
        NotDetached(),
        "stopping",
        "stopped by kate; killed, since it did not end on SIGHUP (R16)",
        [DETACH_ERROR, "<Kill>"],
    ),
    (Life(once=True, attached=True), Begun("bash"), "starting", "", ["<Await>"]),
    (
        Life("starting", once=True, attached=True),
        Ready(),
        "up",
        "awaiting its client",
        ["State changed from starting to up", "Awaiting client"],
    ),
    (
        Life(once=True, named=True),
        Begun("rake x"),
        "starting",
        "",
        ["Starting process with command `rake x`", "<Launch>"],
    ),
]


@pytest.mark.parametrize(
    ("life", "event", "state", "reason", "said"),
    ROWS,
    ids=[f"{row[0].state}-{type(row[1]).__name__}-{i}" for i, row in enumerate(ROWS)],
)
def test_row(life: Life, event: Event, state: State, reason: str, said: list[str]) -> None:
    after, orders = step(life, event)
    assert (after.state, after.reason, spoken(orders)) == (state, reason, said)


def test_every_row_is_told_of() -> None:
    assert {(row[0].state, type(row[1])) for row in ROWS} == set(TABLE)


EVENTS: list[Event] = [
    Begun("x"),
    NotLaunched("x"),
    Ready(),
    BootTimedOut(60),
    Misbound(1, 2, "x"),
    OverQuota(600 * MIB, 512 * MIB, vastly=False),
    OverQuota(2000 * MIB, 512 * MIB, vastly=True),
    StopAsked("down", STOPPED),
    StopAsked("restart", REPLACED),
    StopAsked("idle", IDLED),
    ExitTimedOut(30),
    Ended(Exit(1)),
    Ended(LOST),
    Attached("x"),
    AttachTimedOut(30),
    HungUp("x"),
    NotDetached(),
]
STATES: tuple[State, ...] = get_args(State)


def test_what_has_no_row_is_old_news() -> None:
    for state, event in itertools.product(STATES, EVENTS):
        if (state, type(event)) not in TABLE:
            assert step(Life(state), event) == (Life(state), ())


def test_the_drawn_arrows_are_what_the_table_does() -> None:
    paths: dict[str, set[str]] = {state: set() for state in STATES}
    # A one-off is never idled nor crashed: nobody asks that of it, and it ends complete.
    for (state, kind), once in itertools.product(TABLE, (False, True)):
        lives = [Life(state, once=once, fate=fate) for fate in (None, "down", "restart", "idle")]
        if once and state in ("restarting", "crashed", "idle"):
            continue
        for event in EVENTS:
            if type(event) is kind:
                after = {step(life, event)[0].state for life in lives if fits(life)}
                paths[state] |= after - {state}
    assert paths == PATHS


def fits(life: Life) -> bool:
    """Whether an instance can have that fate in its state."""
    if life.state == "restarting":
        return life.fate == "restart"
    if life.state == "stopping":
        return life.fate == "down" or (life.fate == "idle" and not life.once)
    return life.fate is None or life.state in ("idle", "crashed")


def test_ready_and_a_second_time_out_change_nothing_once_it_is_too_late() -> None:
    over = OverQuota(2000 * MIB, 512 * MIB, vastly=True)
    for event in (BootTimedOut(60), over):
        late, _ = step(STARTING, event)
        for more in (Ready(), BootTimedOut(60), over, Misbound(1, 2, "x")):
            assert step(late, more) == (late, ())
        ended, _ = step(late, Ended(Exit.of(137)))
        assert ended.reason == late.reason != ""
        assert (ended.cause.status, ended.cause.signal) == (137, 9)


def test_a_hint_is_given_once() -> None:
    hinted, orders = step(STARTING, Misbound(1, 2, "x"))
    assert orders
    assert step(hinted, Misbound(1, 3, "x")) == (hinted, ())


def test_a_crashed_or_idle_one_whose_successor_comes_is_left_as_it_is() -> None:
    for life in (CRASHED, IDLE):
        assert step(life, StopAsked("restart", REPLACED)) == (life, ())


def test_an_end_that_was_asked_for_tells_how_it_ended_too() -> None:
    ended, _ = step(STOPPING, Ended(Exit.of(143)))
    assert (ended.cause.kind, ended.cause.status, ended.cause.signal) == ("scaled", 143, 15)
    late, _ = step(RESTARTING, ExitTimedOut(30))
    killed, _ = step(late, Ended(Exit.of(137)))
    assert (killed.cause.kind, killed.cause.root.kind) == ("exit_timeout", "new_release")


events = st.sampled_from([each for each in EVENTS if not isinstance(each, Begun)])


@given(st.booleans(), st.booleans(), st.lists(events, max_size=12))
def test_any_history(is_web: bool, once: bool, history: list[Event]) -> None:
    """Whatever happens: launched once, one end told, and nothing more after the end is final."""
    life = Life(is_web=is_web, once=once)
    orders: list[Order] = []
    for event in [Begun("x"), *history]:
        before = life
        was_final = life.state in ("complete", "down")
        life, more = step(life, event)
        assert life.state == before.state or life.state in PATHS[before.state]
        assert not (was_final and more)
        orders += more
    assert sum(isinstance(each, Launch) for each in orders) == 1
    ends = [each for each in orders if isinstance(each, Say) and each.last]
    assert len([each for each in ends if each.text != R15]) == (life.state in ENDED)
    assert sum(isinstance(each, Terminate) for each in orders) <= 1
    assert sum(isinstance(each, Kill) for each in orders) <= 1 + sum(
        isinstance(each, ExitTimedOut) for each in history
    )
    fates: dict[State, set[Fate | None]] = {"restarting": {"restart"}, "idle": {"idle"}}
    assert life.fate in fates.get(life.state, {"restart", "down", "idle", None})
    assert (life.fate is None) or life.state not in BEGUN
    assert life.cause.words or life.state not in {*ENDED, *LEAVING}
