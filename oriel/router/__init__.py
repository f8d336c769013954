"""Owns the way of a request from its host name to a dyno, as a value that HAProxy carries out.

Must not know what a dyno or a release is, nor who asks for a change: it is given backends. No
Python of it is on a request's path.

Modules in reading order: `table` (the routes as values), `settings` and `places`, `pages` (what the
router answers itself), `tls` (certificates), `maps`, `frontend`, `answers`, `sticky`, `onward`
(from an old worker to the newest), `slots` and, of all of them, `render` (routes to the text of a
configuration), `seen` (what HAProxy shows), `changes` (from the one to the other), `talk` and
`haproxy` (the conversation with it), `router` (keeping it so), `waker` (a request for an idle app
is told).
"""

from oriel.router.haproxy import command, unprivileged_user
from oriel.router.router import Router, Status
from oriel.router.seen import Activity
from oriel.router.table import (
    AppRoute,
    Certificate,
    Listen,
    Mode,
    RouteTable,
    Server,
    hostname,
    pattern,
)
from oriel.router.waker import Waker, waker_name

__all__ = [
    "Activity",
    "AppRoute",
    "Certificate",
    "Listen",
    "Mode",
    "RouteTable",
    "Router",
    "Server",
    "Status",
    "Waker",
    "command",
    "hostname",
    "unprivileged_user",
    "pattern",
    "waker_name",
]
