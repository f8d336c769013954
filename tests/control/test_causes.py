"""What causes mean to somebody who asks why."""

from __future__ import annotations

from typing import get_args

import pytest

from oriel.control.causes import kind_of, meaning_of
from oriel.manifold.cause import Cause, Kind
from oriel.sandbox.confinement import LOST, Exit


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (Cause.of_exit(Exit.of(1)), "exit"),
        (Cause.of_exit(Exit.of(0)), "finished"),
        (Cause.of_exit(Exit.of(139)), "exit"),
        (Cause.of_exit(LOST), "lost"),
        (Cause.of_exit(Exit(137, 9, out_of_memory=True)), "memory"),
        (Cause("memory_quota"), "memory"),
        (Cause("boot_timeout", timeout_s=60), "boot_timeout"),
        (Cause("exit_timeout", timeout_s=30, first=Cause("stopped", by="ned")), "stopped"),
        (Cause("new_release", release=74), "replaced"),
        (Cause("changed", by="ned"), "replaced"),
        (Cause("scaled", by="ned"), "scaled"),
        (Cause("destroyed"), "gone"),
        (Cause("too_long", timeout_s=5), "other"),
        (Cause("noted", why="exited with status 1"), "other"),
    ],
)
def test_kinds(cause: Cause, kind: str) -> None:
    assert kind_of(cause) == kind


def test_every_cause_has_a_kind() -> None:
    assert all(kind_of(Cause(kind)) for kind in get_args(Kind))


def test_a_status_and_what_it_means() -> None:
    assert meaning_of(Cause("exited", status=127)) == "command not found"
    assert meaning_of(Cause("exited", status=1)) == ""
    assert meaning_of(Cause("stopped", by="ned", status=127)) == ""
