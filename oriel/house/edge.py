"""Owns what `oriel doctor` says of the edge: the ports, and how HAProxy does.

Pure, as `doctor` is.
"""

from __future__ import annotations

from collections.abc import Iterator

from oriel import faults
from oriel.house.findings import Finding, sudo
from oriel.house.ports import refuse_twins
from oriel.house.probes import Machine

NEAR_DAYS = 14


def judge(machine: Machine) -> Iterator[Finding]:
    """Ports and router, in reading order."""
    yield from _ports(machine)
    yield from _haproxy(machine)
    yield from _router(machine)
    yield from _certificates(machine)


def _ports(machine: Machine) -> Iterator[Finding]:
    try:
        refuse_twins((each.flag, each.address) for each in machine.ports)
    except faults.Fault as fault:
        yield Finding("ports", "fail", fault.message, fault.hint)
    for port in machine.ports:
        name = f"port {port.address.port}"
        if port.ours:
            yield Finding(name, "ok", f"{port.address} is Oriel's own; it is up.")
        elif port.problem:
            yield Finding(name, "fail", port.problem, port.hint)
        else:
            yield Finding(name, "ok", f"{port.address} is free.")


def _haproxy(machine: Machine) -> Iterator[Finding]:
    """What this HAProxy cannot do."""
    if machine.haproxy_lua is False:
        yield Finding(
            "waiting",
            "warn",
            "HAProxy is built without Lua: a request of an app that boots is refused at once, and "
            "no app can go idle.",
            f"Type: {sudo(machine)}apt-get install --reinstall haproxy (Debian's has Lua)",
        )
    if not machine.haproxy_user:
        yield Finding(
            "haproxy's user",
            "warn",
            "There is no user haproxy: HAProxy, which reads what visitors send, stays root.",
            "Type: useradd --system --no-create-home --shell /usr/sbin/nologin haproxy",
        )


def _router(machine: Machine) -> Iterator[Finding]:
    """What HAProxy objects to, and router lines that are not in the logs."""
    if machine.router_refused:
        first = machine.router_refused.splitlines()[0]
        yield Finding(
            "router",
            "fail",
            f"HAProxy did not take its newest configuration; the one before serves: "
            f"{first.rstrip('.')}.",
            f"Type: cat {machine.data}/router/refused.txt",
        )
    lost = {by: number for by, number in machine.router_lines.lost.items() if number}
    if lost:
        said = ", ".join(f"{number} by {by}" for by, number in lost.items())
        yield Finding(
            "router lines",
            "warn",
            f"Lines of requests were dropped since the start: {said}.",
            f"Type: {sudo(machine)}sysctl net.core.rmem_max, and see that the disk has room.",
        )
    elif machine.router_lines.lost:
        yield Finding("router lines", "ok", "No line of a request was dropped since the start.")
    unread = {what: number for what, number in machine.router_lines.unread.items() if number}
    if unread:
        # Any client can cause it, so that it is nothing to be warned of.
        said = ", ".join(f"{number} {what}" for what, number in unread.items())
        last = machine.router_lines.last_bad
        yield Finding(
            "requests",
            "ok",
            f"Of no app, since what came is no request: {said} since the start"
            + (f"; the last bad one at {last}." if last else "."),
        )


def _certificates(machine: Machine) -> Iterator[Finding]:
    """Automatic ones are renewed a month before their end: such a one has failed for weeks."""
    if not machine.certificates:
        return
    unread = [each.to for each in machine.certificates if each.days_left is None]
    ends = sorted(
        (each.days_left, each.to) for each in machine.certificates if each.days_left is not None
    )
    near = [(days, to) for days, to in ends if days < NEAR_DAYS]
    if near:
        more = f", and {len(near) - 3} more" if len(near) > 3 else ""
        is_over = near[0][0] <= 0
        yield Finding(
            "certificates",
            "fail" if is_over else "warn",
            f"Near their end: {'; '.join(_end(*each) for each in near[:3])}{more}.",
            "Whose app it is types: oriel certs:update CRT KEY; or oriel certs:auto, for why an "
            "automatic one is not renewed. For the API's: replace the file.",
        )
    elif unread:
        said = f"Cannot be read: the one for {unread[0]}."
        yield Finding("certificates", "warn", said, "Type: oriel down && oriel up")
    else:
        count = len(machine.certificates)
        said = f"{count} shown; the first ends in {int(ends[0][0])} days."
        yield Finding("certificates", "ok", said)


def _end(days: float, to: str) -> str:
    if days <= 0:
        return f"{to} has ended"
    return f"{to} in {int(days)} days" if days >= 1 else f"{to} in less than a day"
