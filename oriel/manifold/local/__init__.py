"""Owns running dynos on this machine, under bubblewrap. In reading order: `ports`, `memory`,
`place`, `ready` (made, and not begun), `remains` (what a kill left), `terminals`,
`launching` (from a spec to a sandbox), `launcher`.

The only place that knows a dyno's directory, FIFO, port or process.
"""

from oriel.manifold.local.launcher import LocalLauncher

__all__ = ["LocalLauncher"]
