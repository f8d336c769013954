"""The causes that the record has, told apart."""

from __future__ import annotations

import pytest

from oriel.control.causes import kind_of, meaning_of, status_of
from oriel.manifold.machine import (
    Begun,
    BootTimedOut,
    Ended,
    ExitTimedOut,
    Life,
    NotLaunched,
    Ready,
    StopAsked,
    step,
)
from oriel.sandbox.confinement import LOST, Exit


def after(*events: object, life: Life | None = None) -> str:
    life = life or Life(is_web=True)
    for event in (Begun("run"), *events):
        life, _ = step(life, event)  # type: ignore[arg-type]
    return life.reason


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (after(Ready(), Ended(Exit.of(1))), "exit"),
        (after(Ready(), Ended(Exit.of(0))), "finished"),
        (after(Ready(), Ended(Exit.of(139))), "exit"),
        (after(Ended(LOST)), "lost"),
        (after(BootTimedOut(60.0), Ended(Exit.of(137))), "boot_timeout"),
        (after(NotLaunched("no space")), "not_launched"),
        (after(Ready(), StopAsked("down", "stopped by ned@foobazco.com")), "stopped"),
        (
            after(
                Ready(),
                StopAsked("down", "stopped by ned@foobazco.com"),
                ExitTimedOut(30.0),
                Ended(Exit.of(137)),
            ),
            "stopped",
        ),
        (after(Ready(), StopAsked("restart", "restarted by ned@foobazco.com")), "restarted"),
        ("replaced by v74", "replaced"),
        ("changed by ned@foobazco.com", "replaced"),
        ("scaled down by ned@foobazco.com", "scaled"),
        ("cycled", "cycled"),
        ("memory quota vastly exceeded (R15)", "memory"),
        ("exited with status 137 (SIGKILL), out of memory", "memory"),
        ("the app is gone", "gone"),
        ("", "other"),
        ("took longer than 5 s", "other"),
    ],
)
def test_kinds(cause: str, kind: str) -> None:
    assert kind_of(cause) == kind, cause


def test_a_status_and_what_it_means() -> None:
    assert status_of("exited with status 127") == 127
    assert meaning_of("exited with status 127") == "command not found"
    assert meaning_of("exited with status 1") == ""
    assert status_of("stopped by exited@foobazco.com") is None
