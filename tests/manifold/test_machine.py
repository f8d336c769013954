"""The life of one instance: every row of the table, with the lines that it says, and nothing
besides the table.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.manifold import machine
from oriel.manifold.machine import (
    ENDED,
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
    NotDetached,
    NotLaunched,
    Order,
    Ready,
    Say,
    State,
    StopAsked,
    Terminate,
    how,
    step,
)
from oriel.sandbox import Exit

from .stage import PATHS

LOST = Exit(None, lost=True)
R10 = "Error R10 (Boot timeout) -> Web process failed to bind to $PORT within 60 seconds of launch"
R12 = "Error R12 (Exit timeout) -> At least one process failed to exit within 30 seconds of SIGTERM"
R99 = "Error R99 (Platform error) -> Failed to launch the dyno: no room"
NEW = Life(is_web=True)
STARTING = Life("starting", is_web=True)
UP = Life("up", is_web=True)
STOPPING = Life("stopping", is_web=True, fate="restart", reason="replaced by v74")
CRASHED = Life("crashed", is_web=True, reason="exited with status 1")
ONCE = Life("up", once=True)
ATTACHED = Life("up", once=True, attached=True)
AWAITING = replace(ATTACHED, reason=machine.AWAITING)
ATTACHED_STOPPING = replace(
    ATTACHED, state="stopping", fate="down", reason="stopped by kate", stopped_in="up"
)
ONCE_STOPPING = Life("stopping", once=True, fate="down", reason="stopped by kate", stopped_in="up")


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
    (
        Life(before="crashed"),
        Begun("rake"),
        "starting",
        "",
        [
            "State changed from crashed to starting",
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
        [R10, "Stopping process with SIGKILL", "<Kill>"],
    ),
    (
        STARTING,
        StopAsked("down", "scaled down by ned@foobazco.com"),
        "stopping",
        "scaled down by ned@foobazco.com",
        [
            "State changed from starting to down",
            "Stopping all processes with SIGTERM",
            "<Terminate>",
        ],
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
        StopAsked("restart", "replaced by v74"),
        "stopping",
        "replaced by v74",
        [
            "Restarting",
            "State changed from up to starting",
            "Stopping all processes with SIGTERM",
            "<Terminate>",
        ],
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
    (STOPPING, NotLaunched("no room"), "down", "replaced by v74", [R99 + " ..."]),
    (STOPPING, StopAsked("down", "stopped by kate"), "stopping", "stopped by kate", []),
    (
        STOPPING,
        ExitTimedOut(30),
        "stopping",
        "replaced by v74; killed 30 s after SIGTERM (R12)",
        [R12, "Stopping remaining processes with SIGKILL", "<Kill>"],
    ),
    (
        STOPPING,
        Ended(Exit.of(143)),
        "down",
        "replaced by v74",
        ["Process exited with status 143 ..."],
    ),
    (
        CRASHED,
        StopAsked("down", "scaled down by kate"),
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
    (
        ONCE,
        StopAsked("down", "stopped by kate"),
        "stopping",
        "stopped by kate",
        ["Stopping all processes with SIGTERM", "<Terminate>"],
    ),
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
        AWAITING,
        AttachTimedOut(30),
        "complete",
        "no client came within 30 s (R13)",
        [machine.ATTACH_ERROR, "State changed from up to complete ..."],
    ),
    (
        AWAITING,
        StopAsked("down", "stopped by kate"),
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
        replace(ATTACHED, reason="its client has gone"),
        NotDetached(),
        "up",
        "its client has gone; killed, since it did not end on SIGHUP (R16)",
        [machine.DETACH_ERROR, "<Kill>"],
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
        [machine.DETACH_ERROR, "<Kill>"],
    ),
    (Life(once=True, attached=True), Begun("bash"), "starting", "", ["<Await>"]),
    (
        Life("starting", once=True, attached=True),
        Ready(),
        "up",
        machine.AWAITING,
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
    StopAsked("down", "x"),
    StopAsked("restart", "x"),
    ExitTimedOut(30),
    Ended(Exit(1)),
    Ended(LOST),
    Attached("x"),
    AttachTimedOut(30),
    HungUp("x"),
    NotDetached(),
]
STATES: list[State] = ["new", "starting", "up", "stopping", "crashed", "complete", "down"]


def test_what_has_no_row_is_old_news() -> None:
    for state, event in itertools.product(STATES, EVENTS):
        if (state, type(event)) not in TABLE:
            assert step(Life(state), event) == (Life(state), ())


def test_the_paths_are_those_of_the_table() -> None:
    paths: dict[str, set[str]] = {state: set() for state in STATES}
    for (state, kind), once in itertools.product(TABLE, (False, True)):
        for event in EVENTS:
            if type(event) is kind:
                after = step(Life(state, once=once), event)[0].state
                paths[state] |= {after} - {state}
    assert paths == PATHS


def test_ready_and_a_second_time_out_change_nothing_once_it_is_too_late() -> None:
    late, _ = step(STARTING, BootTimedOut(60))
    assert step(late, Ready()) == (late, ())
    assert step(late, BootTimedOut(60)) == (late, ())
    ended, _ = step(late, Ended(Exit.of(137)))
    assert ended.reason == "did not bind to its port within 60 s (R10)"


def test_a_crashed_one_whose_successor_comes_is_left_as_it_is() -> None:
    assert step(CRASHED, StopAsked("restart", "replaced by v9")) == (CRASHED, ())


@pytest.mark.parametrize(
    ("exit_", "words"),
    [
        (Exit(0), "exited with status 0"),
        (Exit(1), "exited with status 1"),
        (Exit.of(137), "exited with status 137 (SIGKILL)"),
        (Exit.of(143), "exited with status 143 (SIGTERM)"),
        (Exit.of(139), "exited with status 139 (SIGSEGV)"),
        (Exit.of(192), "exited with status 192 (SIGRTMAX)"),
        (Exit.of(160), "exited with status 160"),
        (Exit.of(255), "exited with status 255"),
        (LOST, "ended, with a status that is not known"),
    ],
)
def test_how(exit_: Exit, words: str) -> None:
    assert how(exit_) == words


events = st.sampled_from([each for each in EVENTS if not isinstance(each, Begun)])


@given(st.booleans(), st.booleans(), st.lists(events, max_size=12))
def test_any_history(is_web: bool, once: bool, history: list[Event]) -> None:
    """Whatever happens: launched once, one end told, and nothing more after the end is final."""
    life = Life(is_web=is_web, once=once)
    orders: list[Order] = []
    for event in [Begun("x"), *history]:
        was_final = life.state in ("complete", "down")
        life, more = step(life, event)
        assert not (was_final and more)
        orders += more
    assert sum(isinstance(each, Launch) for each in orders) == 1
    ends = [each for each in orders if isinstance(each, Say) and each.last]
    assert len(ends) == (life.state in ENDED)
    assert sum(isinstance(each, Terminate) for each in orders) <= 1
    assert sum(isinstance(each, Kill) for each in orders) <= 1 + sum(
        isinstance(each, ExitTimedOut) for each in history
    )
    fates: set[Fate | None] = {"restart", "down", None}
    assert life.fate in fates
