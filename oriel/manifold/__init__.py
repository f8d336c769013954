"""Owns dyno instances: what becomes of each, when a crashed one starts again, and their record.

Must not know releases, log channels or routes; it is given wishes and says what is. Read in this
order: `dyno` (the values), `cause` (why; pure), `machine` (one instance's life; a table, pure),
`drawing` (the same as a picture), `backoff`, `sizes` (pure), `command` (what is shown and run;
pure), `launcher` (the protocol), `local` (bubblewrap on this machine), `events` (the record and its
log lines), `loops` (crashes that are counted instead), `recorder` (one instance's way into both),
`probe` and `boot` (is it up?), `parting` (left by the router before SIGTERM), `around` and `life`
(one instance, driven by the machine), `roster` (who lives under which name), `specs` (what is run
of a wish; pure), `spares` (what is ready for when one crashes), `succession` (the moment when it
does), `seats` (what happens in a slot), `switch` (two releases side by side), `oneoff` and
`oneoffs` (what runs once, and who is attached to it), `past` and `adoption` (what an earlier
process left), `looks` (what they take), `conductor` (all of them: the room's shell).
"""

from oriel.manifold.cause import Cause
from oriel.manifold.conductor import Conductor
from oriel.manifold.dyno import Check, Dyno, Once, Process, Wish
from oriel.manifold.launcher import Launched, Launcher, LaunchSpec, Terminal, Visit, Window
from oriel.manifold.oneoff import OneOff
from oriel.sandbox.confinement import Exit

__all__ = [
    "Cause",
    "Check",
    "Conductor",
    "Dyno",
    "Exit",
    "LaunchSpec",
    "Launched",
    "Launcher",
    "Once",
    "OneOff",
    "Process",
    "Terminal",
    "Visit",
    "Window",
    "Wish",
]
