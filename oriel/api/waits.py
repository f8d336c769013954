"""Owns telling the official `ps:wait` that what it waits for will not come.

It asks for the newest release alone, and then for the dynos until all run that one: where the
release fails, for ever. But its calls bear the ids of all answers before. So the answer about a
release that has not succeeded says in its id which it is, and a look at the dynos with such an id
is refused once that release has failed. `oriel ps:wait` has a door of its own.
"""

from __future__ import annotations

import re

from oriel import faults
from oriel.api.doors import Call
from oriel.control import releases
from oriel.control.releases import ReleaseCard
from oriel.ledger import App

_AWAITS = re.compile(r"(?:^|,)\s*awaits-v(\d{1,9})-[^,\s]{1,100}\s*(?:,|$)")


def mark(call: Call, card: ReleaseCard) -> None:
    """Let the answer's id say that the caller may wait for this release from now on."""
    if card.release.status != "succeeded":
        version = card.release.version
        call.request.scope["oriel.request_id"] = f"awaits-v{version}-{call.request_id}"


async def check(call: Call, app: App) -> None:
    """Raise Conflict where the caller waits for a release that has failed."""
    found = _AWAITS.search(call.request.headers.get("request-id", ""))
    if found is None:
        return
    awaited = (await releases.release(call.world, call.actor, app.id, found[1])).release
    if awaited.status == "failed":
        raise faults.Conflict(
            f"Release v{awaited.version} of {app.name} failed: {awaited.status_reason}.",
            hint=f"oriel releases:info v{awaited.version} -a {app.name}",
            app=app.name,
        )
