"""How the router should answer for an app, by what runs of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from oriel.control.running import mode_of
from oriel.ledger import App, Release
from oriel.lexicon import DynoName
from oriel.manifold import Dyno

NOW = datetime(2011, 6, 19, 8, 35, tzinfo=UTC)
FIELDS: dict[str, Any] = dict.fromkeys(Release.__dataclass_fields__)
DEPLOYED = Release(**{**FIELDS, "version": 2, "slug_id": "s", "process_types": {"web": "x"}})
EMPTY = replace(DEPLOYED, slug_id=None, process_types={})
WORKER_ONLY = replace(DEPLOYED, process_types={"worker": "x"})
APP = App(**{**dict.fromkeys(App.__dataclass_fields__), "maintenance": False})
BUSY = replace(APP, maintenance=True)


def dyno(state: str) -> Dyno:
    fields: dict[str, Any] = dict.fromkeys(Dyno.__dataclass_fields__)
    return Dyno(**{**fields, "name": DynoName("web", 1), "state": state})


@pytest.mark.parametrize(
    ("app", "head", "quantity", "web", "servers", "mode"),
    [
        (APP, None, 0, [], False, "blank"),
        (APP, EMPTY, 0, [], False, "blank"),
        (APP, DEPLOYED, 1, [dyno("up")], True, "serve"),
        (BUSY, DEPLOYED, 1, [dyno("up")], True, "maintenance"),
        (APP, DEPLOYED, 0, [], False, "none"),
        (APP, WORKER_ONLY, 0, [], False, "none"),
        (APP, DEPLOYED, 1, [dyno("crashed")], False, "crashed"),
        (APP, DEPLOYED, 1, [dyno("starting")], False, "booting"),
        (APP, DEPLOYED, 1, [dyno("down")], False, "none"),
        (APP, DEPLOYED, 1, [], False, "booting"),
        (APP, DEPLOYED, 2, [dyno("down"), dyno("stopping")], False, "booting"),
        (APP, DEPLOYED, 1, [dyno("restarting")], False, "booting"),
        (APP, DEPLOYED, 1, [dyno("idle")], False, "booting"),
        (APP, DEPLOYED, 2, [dyno("crashed"), dyno("up")], True, "serve"),
    ],
)
def test_mode(
    app: App, head: Release | None, quantity: int, web: list[Dyno], servers: bool, mode: str
) -> None:
    assert mode_of(app, head, quantity, web, servers) == mode
