"""Owns confining a program: mounts, uid, bubblewrap's arguments, the fork server.

Must not know dynos, builds or apps: the manifold and the builder say what to confine.

Read in this order: `confinement` (the values), `system` (what of the machine is shown), `render` (a
confinement as bubblewrap's arguments), `seccomp` (the filter of system calls) and `subnet`
(addresses and rules), all pure; `linux`, `netlink` (system calls), `network`, `cgroups` and
`delegation` (what is kept in the kernel); `spawner` (the fork server, a process of its own),
`enter` and `monitor` (a second program inside), `forks` (the fork server from outside), `status`
(what bubblewrap tells; pure), `usage`, `lingering` (mounts and network for a moment longer),
`confined` (one running sandbox), `entered` (that second program, from outside), `relay` (a build's
way to a proxy), `admission` (what comes before it begins), `sandboxes` (the shell), `capabilities`
(what this machine allows).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oriel.sandbox.capabilities import Capabilities as Capabilities
    from oriel.sandbox.confined import Confined as Confined
    from oriel.sandbox.confinement import Bind as Bind
    from oriel.sandbox.confinement import Confinement as Confinement
    from oriel.sandbox.confinement import Exit as Exit
    from oriel.sandbox.confinement import Overlay as Overlay
    from oriel.sandbox.confinement import Visit as Visit
    from oriel.sandbox.entered import Entered as Entered
    from oriel.sandbox.sandboxes import Sandboxes as Sandboxes
    from oriel.sandbox.subnet import Openings as Openings

__all__ = [
    "Bind",
    "Capabilities",
    "Confined",
    "Confinement",
    "Entered",
    "Exit",
    "Openings",
    "Overlay",
    "Sandboxes",
    "Visit",
]

_HOMES = {
    "Bind": "confinement",
    "Capabilities": "capabilities",
    "Confined": "confined",
    "Confinement": "confinement",
    "Exit": "confinement",
    "Entered": "entered",
    "Openings": "subnet",
    "Overlay": "confinement",
    "Sandboxes": "sandboxes",
    "Visit": "confinement",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is asked for.

    The fork server is `python -m oriel.sandbox.spawner`, which runs this file too: it must stay
    small, because every start of a process copies its page tables.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
