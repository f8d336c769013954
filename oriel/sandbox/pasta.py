"""Owns giving a sandbox of an ordinary user a network of its own: pasta beside it, a wall within.

For the fork server, so it imports next to nothing. pasta is a child of the process that becomes
bubblewrap, forked before the namespaces are made because it must stay in the machine's network; the
kernel ends it with that process, whatever ends that. bubblewrap ignores children that are not its
own (`monitor_child` in its source says so), and reaps them.

What a sandbox may reach is told to nftables inside its namespace, and not by routes: a program that
binds its socket to a device gets past every route that refuses. The namespace belongs to a user
namespace outside the sandbox's, so nobody in it can change either.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from typing import Any, NoReturn

from oriel.sandbox import linux

READY_LOOKS = 50
"""How often it may say something before it is ready; also bounds what is kept of that."""
END_TIMEOUT_S = 2.0
WORDS_MAX = 4096
DEVICE = "eth0"
NO_IPV6 = "/proc/sys/net/ipv6/conf/default/disable_ipv6"
_HANGS = b"open tun"
"""pasta says that it failed to open the tun device, and then waits for ever."""
_NOISE = "Failed to send"
"""What it says for each line that the machine's log does not take."""
_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"


class Pasta:
    """pasta, forked and waiting until there is a namespace for it."""

    def __init__(self, tap: dict[str, Any]) -> None:
        """Before the caller leaves the machine's namespaces. `tap` is a `taps.Tap`."""
        self._tap = tap
        gate, self._go = os.pipe()
        self._ready, ready = os.pipe()
        self._words, words = os.pipe()
        self.pid = _fork(lambda parent: self._become(parent, gate, ready, words))
        for descriptor in (gate, ready, words):
            os.close(descriptor)

    def join(self) -> None:
        """In the new user and network namespaces, with all capabilities there: returns when the
        network works and its wall stands; raises OSError.
        """
        with contextlib.suppress(OSError):  # the wall refuses it too
            linux.write(NO_IPV6, "1")
        os.write(self._go, b"g")
        _raise_wall(self._tap["nft"], self._tap["rules"])
        self._wait()
        for descriptor in (self._go, self._ready, self._words):
            os.close(descriptor)

    def _become(self, parent: int, gate: int, ready: int, words: int) -> None:
        os.setsid()  # no terminal's keys are for it
        linux.die_with(parent)
        os.close(self._go)
        if os.read(gate, 1) != b"g":
            return
        null = os.open(os.devnull, os.O_RDWR)
        for source, target in ((null, 0), (ready, 1), (words, 2)):
            os.dup2(source, target, inheritable=True)
        # It takes a SIGPIPE that is ignored already for a failure to ignore it.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execve(self._tap["pasta"], arguments(self._tap, parent), {})  # noqa: S606

    def _wait(self) -> None:
        """Until it has said its pid, which it does when all is done."""
        told, look_s = b"", self._tap["patience_s"] / READY_LOOKS
        for _ in range(READY_LOOKS):
            heard = select.select([self._ready, self._words], [], [], look_s)[0]
            ended = False
            if self._ready in heard:
                if os.read(self._ready, 64):
                    return
                ended = True
            if self._words in heard:
                told += os.read(self._words, WORDS_MAX)
            if ended or _HANGS in told:
                raise OSError(5, f"pasta: {_last(told) or 'it ended at once'}")
        raise OSError(110, f"pasta was not ready after {self._tap['patience_s']:g} s")


def arguments(tap: dict[str, Any], parent: int) -> list[str]:
    """The command that joins a process's namespaces to the machine's network, for as long as it
    runs. Nothing of the machine's loopback but the ports of `out` is reached by it.
    """
    within = [str(port) for port in tap["out"]]
    names = [str(port) for port in tap["out"] if port == 53]
    return [
        *(tap["pasta"], "--foreground", "--quiet", "--pid", "/dev/stdout"),
        *("--ipv4-only", "--config-net", "--ns-ifname", DEVICE, "--no-map-gw"),
        *("--address", tap["address"], "--netmask", tap["netmask"], "--gateway", tap["gateway"]),
        *("--no-dhcp", "--no-dhcpv6", "--no-ndp", "--no-ra"),
        *("--tcp-ports", f"{tap['host']}/{tap['port']}" if tap["port"] else "none"),
        *("--udp-ports", "none", "--tcp-ns", ",".join(within) or "none"),
        *("--udp-ns", ",".join(names) or "none", str(parent)),
    ]


def ends_with_its_sandbox(start: Any) -> None:
    """Try `start`, which returns a joined Pasta, in a process that then ends; raises OSError if it
    cannot be, or if pasta outlives that.
    """
    told, tell = os.pipe()
    gate, go = os.pipe()

    def trial(_: int) -> None:
        os.close(go)
        try:
            said = f"{start().pid}\n"
        except OSError as error:
            said = f"{error.strerror}\n"
        os.write(tell, said.encode())
        os.read(gate, 1)

    child = _fork(trial)
    for descriptor in (tell, gate):
        os.close(descriptor)
    said = os.read(told, WORDS_MAX).decode().strip()
    pasta = os.pidfd_open(int(said)) if said.isdigit() else None
    os.close(go)
    os.waitpid(child, 0)
    if pasta is None:
        raise OSError(5, said or "it ended at once")
    if not select.select([pasta], [], [], END_TIMEOUT_S)[0]:
        signal.pidfd_send_signal(pasta, signal.SIGKILL)
        raise OSError(5, "pasta does not end with what it was started for")


def _raise_wall(nft: str, rules: str) -> None:
    """nftables' rules of the namespace in which we are."""
    text = os.memfd_create("oriel-rules")
    os.write(text, rules.encode())
    os.lseek(text, 0, os.SEEK_SET)
    words, tell = os.pipe()

    def become(_: int) -> None:
        linux.keep_capability(linux.CAP_NET_ADMIN)
        for source, target in ((text, 0), (tell, 1), (tell, 2)):
            os.dup2(source, target, inheritable=True)
        os.execve(nft, [nft, "-f", "-"], {"PATH": _PATH})  # noqa: S606

    pid = _fork(become)
    os.close(tell)
    os.close(text)
    told = b""
    while chunk := os.read(words, WORDS_MAX):
        told = (told + chunk)[:WORDS_MAX]
    os.close(words)
    if os.waitpid(pid, 0)[1] != 0:
        first = told.decode(errors="replace").strip().partition("\n")[0]
        raise OSError(5, f"nft: {first or 'it could not be started'}")


def _fork(then: Any) -> int:
    """Fork; the child does `then(the parent's pid)` and ends."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _do(then, parent)
    return pid


def _do(then: Any, parent: int) -> NoReturn:
    try:
        then(parent)
    finally:
        os._exit(127)


def _last(told: bytes) -> str:
    lines = told.decode(errors="replace").strip().splitlines()
    return next((line for line in reversed(lines) if not line.startswith(_NOISE)), "")
