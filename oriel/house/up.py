"""Owns `oriel up` and `oriel down` as a person meets them: start, what is said, exit codes.

Must not supervise: that is `supervisor`. Everything that can refuse does so before anything is
started, except for what only a child can find out.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import resource
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from oriel import faults
from oriel.clock import Clock
from oriel.house import ports, preflight, processes, programs, router_socket, settings
from oriel.house.door import Visitor
from oriel.house.fifos import Fifos
from oriel.house.layout import Layout
from oriel.house.programs import Commands
from oriel.house.settings import Flags, Settings
from oriel.house.supervisor import Mode, Supervisor
from oriel.sandbox import Capabilities

DOWN_TIMEOUT_S = 240.0
FILES_MAX = 131_072
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What `oriel up` takes from outside; tests give their own."""

    environ: Mapping[str, str]
    clock: Clock
    say: Callable[[str], None]
    commands: Callable[[Layout], Commands] = programs.real


def say_on_stderr(text: str) -> None:
    """Say it where progress goes. A terminal that has gone away is no error: the work goes on."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def up(data: Path, flags: Flags, outside: Surroundings) -> int:
    """Run the platform in the foreground; returns the exit code. Raises Faults before it starts."""
    os.umask(0o077)
    ports.keep_to_ourselves()
    path = preflight.search_path(outside.environ.get("PATH", ""))
    able: Capabilities | None = None
    if outside.commands is programs.real:
        preflight.refuse_without_programs(path, root=os.geteuid() == 0)
        able = preflight.refuse_without_sandboxes()
    directory = data.expanduser().absolute()
    # Flags that are wrong are refused before anything is made on disk.
    preflight.refuse_missing_files(settings.settle(flags, None, directory))
    layout = preflight.make_data_directory(directory)
    with _locked(layout):
        kept = settings.load(layout.settings)
        chosen = settings.settle(flags, kept, layout.data)
        preflight.refuse_missing_files(chosen)
        _refuse_used_ports(layout, chosen, kept, ports.means(outside.environ, path))
        caveats = preflight.weaker_grounds(able, chosen.isolation) if able else ()
        return _supervise(layout, chosen, kept, outside, Mode.RUN, caveats)


def down(data: Path, *, dynos: bool, outside: Surroundings) -> int:
    """Stop the platform, with `dynos` the dynos too, and wait for it; returns the exit code."""
    layout = Layout(data.expanduser().absolute())
    try:
        door = Visitor(layout.up_socket, DOWN_TIMEOUT_S)
    except faults.Unavailable:
        return _down_without_up(layout, dynos=dynos, outside=outside)
    with door:
        outside.say("Stopping the platform.")
        pidfd = os.pidfd_open(door.pid)
        try:
            answer = door.ask({"op": "down", "dynos": dynos})
            ended = processes.wait_for_end(pidfd, DOWN_TIMEOUT_S)
        finally:
            os.close(pidfd)
    if not ended:
        raise faults.Unavailable(
            f"`oriel up` (process {door.pid}) has not ended.",
            hint=f"See {layout.logs} for what its parts say.",
        )
    if not answer.get("ok"):
        outside.say(f"The platform is stopped, but not all dynos. See {layout.log('control')}.")
        return 1
    left = answer.get("left", 0)
    outside.say(
        f"Stopped. {left} dyno(s) go on; `oriel down --dynos` stops them too."
        if left
        else "Stopped."
    )
    return 0


def _down_without_up(layout: Layout, *, dynos: bool, outside: Surroundings) -> int:
    """No `oriel up` answers: stop what a killed one left behind, and dynos if they should stop.

    Only control knows how to stop dynos, so for that the platform starts once more.
    """
    runs = [name for name in programs.ORDER if _runs(layout, name)]
    has_dynos = layout.dynos.is_dir() and bool(os.listdir(layout.dynos))
    kept = settings.load(layout.settings)
    if kept is None or not (runs or (dynos and has_dynos)):
        outside.say(f"Nothing runs in {layout.data}.")
        return 0
    os.umask(0o077)
    ports.keep_to_ourselves()
    with _locked(layout):
        if dynos and has_dynos and "control" not in runs:
            path = preflight.search_path(outside.environ.get("PATH", ""))
            ports.refuse_used(kept.api, "--api", ports.means(outside.environ, path))
        mode = Mode.STOP_DYNOS if dynos and has_dynos else Mode.STOP
        return _supervise(layout, kept, kept, outside, mode)


@contextlib.contextmanager
def _locked(layout: Layout) -> Iterator[None]:
    lock = preflight.take_lock(layout)
    try:
        yield
    finally:
        os.close(lock)


def _supervise(
    layout: Layout,
    chosen: Settings,
    kept: Settings | None,
    outside: Surroundings,
    mode: Mode,
    caveats: tuple[str, ...] = (),
) -> int:
    """Hold what must be held, then run the supervisor until the end."""
    _become_subreaper()
    _raise_file_limit()
    fifos = Fifos(layout)
    fifos.hold_all()
    router = _router_socket(layout, kept)
    chosen = replace(chosen, router_log_port=router.getsockname()[1])
    chosen = replace(chosen, rendezvous=ports.settled(chosen.rendezvous))
    _forget_stale_configuration(layout, chosen, kept)
    settings.save(layout.settings, chosen)
    path = preflight.search_path(outside.environ.get("PATH", ""))
    planned = programs.programs(
        outside.commands(layout), layout, chosen, {**outside.environ, "PATH": path}, router.fileno()
    )

    def announce() -> None:
        _announce(layout, chosen, caveats, outside.say)

    async def play() -> int:
        supervisor = Supervisor(layout, chosen, outside.clock, outside.say, fifos)
        return await supervisor.run(planned, mode, announce)

    with router:
        return asyncio.run(play())


def _announce(
    layout: Layout, chosen: Settings, caveats: tuple[str, ...], say: Callable[[str], None]
) -> None:
    """What it listens on and how to go on, in plain words. Never a secret."""
    say("Oriel is up.")
    say(f"  API and git  {chosen.api_url}")
    say(f"  Apps         {chosen.apps_url}")
    say(f"  Attaching    {chosen.rendezvous} (TLS, certificate: oriel ca)")
    say(f"  Data         {layout.data}")
    if chosen.web_tls is not None:
        say(f"  With TLS     {chosen.web_tls}")
    if chosen.insecure_http and not chosen.api.is_loopback and not chosen.has_tls:
        say("  WARNING: the API is open to the network without TLS (--insecure-http).")
    for caveat in caveats:
        say(f"  Note: {caveat}")
    if layout.setup_token.exists():
        say(f"First time? The setup token is in {layout.setup_token}; in another terminal type:")
        elsewhere = (
            "" if str(chosen.api) == settings.DEFAULT_API else f"ORIEL_API={chosen.api_url} "
        )
        say(f"  {elsewhere}oriel login --setup {layout.setup_token}")
    say("Ctrl-C stops the platform; dynos keep running (`oriel down --dynos` stops them too).")


def _refuse_used_ports(
    layout: Layout, chosen: Settings, kept: Settings | None, has: ports.Means
) -> None:
    """Ports must be free, but for those that what a killed `oriel up` left listens on itself."""
    addresses = settings.addresses(chosen)
    ports.refuse_twins(addresses)
    before = dict(settings.addresses(kept)) if kept else {}
    for flag, address in addresses:
        listener = "haproxy" if flag in ("--web", "--web-tls") else "control"
        if not (before.get(flag) == address and _runs(layout, listener)):
            ports.refuse_used(address, flag, has)


def _router_socket(layout: Layout, kept: Settings | None) -> socket.socket:
    """The socket of a logplex that still runs, or a new one at the port that HAProxy knows."""
    if _runs(layout, "logplex"):
        fetched = router_socket.fetch(layout.logplex_socket)
        if fetched is not None:
            return fetched
    return router_socket.open_socket(kept.router_log_port if kept is not None else 0)


def _forget_stale_configuration(layout: Layout, chosen: Settings, kept: Settings | None) -> None:
    """A HAProxy that starts anew must not start with addresses that are no longer wanted."""
    same = kept is not None and (kept.web, kept.web_tls, kept.router_log_port) == (
        chosen.web,
        chosen.web_tls,
        chosen.router_log_port,
    )
    if not same and not _runs(layout, "haproxy"):
        layout.haproxy_config.unlink(missing_ok=True)


def _runs(layout: Layout, name: str) -> bool:
    identity = processes.read_pid_file(layout.pid_file(name))
    pidfd = processes.open_again(identity) if identity is not None else None
    if pidfd is not None:
        os.close(pidfd)
    return pidfd is not None


def _become_subreaper() -> None:
    """Orphans come to us, not to the machine's init: a dyno's monitor whose starter died."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def _raise_file_limit() -> None:
    """One descriptor a dyno here, many in HAProxy, which takes memory for as many as it may have:
    enough, but not the thousand millions that some containers allow."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
