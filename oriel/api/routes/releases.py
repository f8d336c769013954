"""Owns the doors to the ledger: releases, rollback, comparing and verifying."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import Response

from oriel.api import ranges, representations, waits
from oriel.api.doors import Call, Door, reply, reply_page
from oriel.api.ranges import Page, Range
from oriel.control import access, releases
from oriel.control.releases import ReleaseCard

PART = 500
"""How many releases are asked for at once where a whole ledger is wanted."""

_KEYS = {
    "version": lambda card: card.release.version,
    "id": lambda card: card.release.id,
}


async def show_all(call: Call) -> Response:
    """An app's releases, as far as the Range wants them: without one, oldest first."""
    wanted = ranges.parse(call.request.headers.get("range"), tuple(_KEYS))
    app = await access.app_of(call.world, call.actor, call.path("app"))
    page = await _page(call, app.id, wanted)
    if wanted.max == len(page.items) == 1 and wanted.order == "desc":
        waits.mark(call, page.items[0])
    return reply_page(page, lambda card: representations.release(card, app.name))


async def show(call: Call) -> Response:
    """One release, by number or id."""
    app = await access.app_of(call.world, call.actor, call.path("app"))
    card = await releases.release(call.world, call.actor, app.id, call.path("release"))
    return reply(representations.release(card, app.name))


async def create(call: Call) -> Response:
    """A release without a build: of a release that was (rollback), or of a slug (retry)."""
    app = await access.app_of(call.world, call.actor, call.path("app"))
    slug, to = call.body.reference("slug"), call.body.reference("release")
    if slug is not None and to is None:
        description = call.body.optional_text("description") or ""
        card = await releases.retry(call.world, call.actor, app.id, slug, description)
    else:
        card = await releases.roll_back(call.world, call.actor, app.id, to)
    return reply(representations.release(card, app.name), 201)


async def config(call: Call) -> Response:
    """The config that a release holds."""
    values = await releases.release_config(
        call.world, call.actor, call.path("app"), call.path("release")
    )
    return reply(representations.config(values))


async def diff(call: Call) -> Response:
    """What changed from one release to another; config values only with `?reveal=true`."""
    changes = await releases.diff(
        call.world,
        call.actor,
        call.path("app"),
        call.path("release"),
        call.path("other"),
        reveal=call.flag("reveal"),
    )
    return reply(representations.changes(changes))


async def verification(call: Call) -> Response:
    """Whether the ledger is what was written."""
    report = await releases.verify(call.world, call.actor, call.path("app"))
    return reply(representations.verification(report))


async def _page(call: Call, app: str, wanted: Range) -> Page[ReleaseCard]:
    if wanted.field == "version" and wanted.order == "desc":
        return await _newest(call, app, wanted)
    return ranges.page(await _all(call, app), wanted, _KEYS)


async def _newest(call: Call, app: str, wanted: Range) -> Page[ReleaseCard]:
    start, end = ranges.number(wanted.start), ranges.number(wanted.end)
    before = start if start is None or wanted.exclusive else start + 1
    # One more than is wanted, to know whether there is a next part.
    cards = await releases.releases(
        call.world, call.actor, app, limit=wanted.max + 1, before=before
    )
    kept = [card for card in cards if end is None or card.release.version >= end]
    return ranges.cut(kept, wanted, _KEYS["version"])


async def _all(call: Call, app: str) -> Sequence[ReleaseCard]:
    found: list[ReleaseCard] = []
    before: int | None = None
    while True:
        part = await releases.releases(call.world, call.actor, app, limit=PART, before=before)
        found += part
        if len(part) < PART:
            return found
        before = part[-1].release.version


DOORS = (
    Door("GET", "/apps/{app}/releases", show_all),
    Door("POST", "/apps/{app}/releases", create),
    Door("GET", "/apps/{app}/releases/{release}", show),
    Door("GET", "/apps/{app}/releases/{release}/config-vars", config),
    Door("GET", "/oriel/apps/{app}/releases/{release}/diff/{other}", diff),
    Door("GET", "/oriel/apps/{app}/verification", verification),
)
