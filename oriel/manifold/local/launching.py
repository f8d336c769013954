"""Owns the way from an instance's spec to its sandbox: what it may see and take, and its streams.

Must not know when it is started, nor what was there before.
"""

from __future__ import annotations

import os
from pathlib import Path

from oriel.manifold import command, sizes
from oriel.manifold.launcher import Launched, LaunchSpec
from oriel.manifold.local import place as place_of
from oriel.manifold.local import ready, terminals
from oriel.sandbox import Confined, Confinement, Overlay, Sandboxes


async def launch(
    sandboxes: Sandboxes,
    place: Path,
    spec: LaunchSpec,
    at: Launched,
    streams: terminals.FarEnd | None,
    *,
    waits: bool = False,
) -> Confined:
    """Its sandbox, begun, with `streams` or those of a dyno: what it says goes into its FIFO. One
    that `waits` is made and no more. Raises OSError, Unavailable.
    """
    is_terminal = streams is not None and os.isatty(streams.stdin)
    confinement = _confinement(sandboxes, spec, at, waits=waits, is_terminal=is_terminal)
    if streams is not None:
        return await sandboxes.launch(
            confinement,
            stdin=streams.stdin,
            stdout=streams.stdout,
            stderr=streams.stderr,
            status_path=place / "status",
            name=spec.instance,
        )
    write = place_of.open_fifo(place / "out", os.O_WRONLY)
    try:
        # The dyno shares this open file with nobody: O_NONBLOCK is its own to set.
        os.set_blocking(write, True)
        gate = ready.make(place) if waits else None
        try:
            return await sandboxes.launch(
                confinement,
                stdin=gate,
                stdout=write,
                stderr=None,
                status_path=place / "status",
                name=spec.instance,
            )
        finally:
            if gate is not None:
                os.close(gate)
    finally:
        os.close(write)


def environment(spec: LaunchSpec, at: Launched) -> dict[str, str]:
    """All of its program's environment: what its slug, its config and Oriel say."""
    profile = command.read_profile(place_of.read_profile(spec.slug))
    return command.environment(spec.env, profile, str(spec.name), at.port)


def _confinement(
    sandboxes: Sandboxes, spec: LaunchSpec, at: Launched, *, waits: bool, is_terminal: bool
) -> Confinement:
    argv = command.argv(spec.command, is_profiled=place_of.is_profiled(spec.slug))
    size = sizes.of(spec.size)
    network = sandboxes.network
    return Confinement(
        argv=ready.waiting(argv) if waits else argv,
        env=environment(spec, at),
        uid=spec.uid,
        overlay=Overlay(spec.slug),
        hostname=f"{spec.type}-{spec.number}"[:63],
        address=at.host if network and network.subnet.holds(at.host) else None,
        port=at.port,
        memory_bytes=size.hard_bytes,
        cpu_weight=size.cpu_weight,
        processes=size.processes,
        terminal=is_terminal,
    )
