"""For how long an app has had nothing to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from oriel.control.sleeper import Quiet, quiet_s, up_s
from oriel.lexicon import DynoName
from oriel.manifold import Dyno
from oriel.router import Activity

NOW = datetime(2011, 6, 19, 8, 35, tzinfo=UTC)
WEB = Dyno(
    instance="0" * 32,
    name=DynoName("web", 1),
    app_id="app-1",
    command="run",
    size="standard-1x",
    state="up",
    since=NOW - timedelta(hours=1),
    release=1,
    host="127.0.0.1",
    port=5000,
    reason="",
)
YOUNG = replace(WEB, since=NOW - timedelta(minutes=1))


@pytest.mark.parametrize(
    ("was", "activity", "up", "then", "for_s"),
    [
        # The last request, or where none came, since HAProxy counts.
        (Quiet(), Activity(0, 100), 3600, Quiet(), 100),
        # It has just come up: a release, a restart, a wake.
        (Quiet(), Activity(0, 100), 20, Quiet(), 20),
        # Something is under way, whenever it began.
        (Quiet(), Activity(1, 9000), 9000, Quiet(1000), 0),
        # A websocket that has ended since the last look.
        (Quiet(970), Activity(0, 9000), 9000, Quiet(970), 30),
        # HAProxy was started anew: it counts anew.
        (Quiet(), Activity(0, 3), 9000, Quiet(), 3),
    ],
)
def test_quiet(was: Quiet, activity: Activity, up: float, then: Quiet, for_s: float) -> None:
    assert quiet_s(was, activity, up, 1000) == (then, for_s)


@pytest.mark.parametrize(
    ("web", "for_s"),
    [
        ([], None),
        ([WEB], 3600),
        ([WEB, YOUNG], 60),
        ([WEB, replace(YOUNG, state="idle")], 3600),
        ([replace(WEB, state="idle")], None),
        ([WEB, replace(WEB, state="starting")], None),
        ([WEB, replace(WEB, state="crashed")], None),
        ([replace(WEB, state="stopping")], None),
        # A release rises beside it.
        ([WEB, replace(WEB, serving=False)], None),
        # The clock was set back.
        ([replace(WEB, since=NOW + timedelta(hours=1))], 0),
    ],
)
def test_up(web: list[Dyno], for_s: float | None) -> None:
    assert up_s(web, NOW) == for_s
