"""Owns dyno instances: what becomes of each, when a crashed one starts again, and their record.

Must not know releases, log channels or routes; it is given wishes and says what is. Read in this
order: `dyno` (the values), `machine` (one instance's life; a table, pure), `backoff` (pure),
`command` (what is shown and run; pure), `launcher` (the protocol), `local` (bubblewrap on this
machine), `events` (the record and its log lines), `life` (one instance, driven by the machine),
`roster` (who lives under which name), `past` (what an earlier process left), `conductor` (all of
them: the room's shell).
"""

from oriel.manifold.conductor import Conductor
from oriel.manifold.dyno import Dyno, Once, Process, Wish
from oriel.manifold.launcher import Launched, Launcher, LaunchSpec, Terminal, Visit, Window
from oriel.manifold.life import Instance
from oriel.sandbox.confinement import Exit

__all__ = [
    "Conductor",
    "Dyno",
    "Exit",
    "Instance",
    "LaunchSpec",
    "Launched",
    "Launcher",
    "Once",
    "Process",
    "Terminal",
    "Visit",
    "Window",
    "Wish",
]
