"""Owns watching over one program inside a sandbox, from outside of its pid namespace: signals in,
its exit code out, and its end when nobody is left to talk to it. Part of `enter`, in the same
process, and as small.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time

HANG_UP_S = 10.0
"""How long a program may take from SIGHUP to its end when nobody is left to talk to it."""


def attend(door: socket.socket, child: int, host: int) -> int:
    """Pass signals on until the program has ended; its exit code, as a shell tells it."""
    end = os.pidfd_open(child)
    poll = select.poll()
    poll.register(door, select.POLLIN)
    poll.register(end, select.POLLIN)
    deadline_s: float | None = None
    while True:
        left_ms = None
        if deadline_s is not None:
            left_ms = max(0.0, deadline_s - time.monotonic()) * 1000  # noqa: TID251 - no Clock here
        ready = dict(poll.poll(left_ms))
        if end in ready:
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            return code if code >= 0 else 128 - code
        if not ready:
            _kill_session(host, child)
            continue
        if not _pass_on(door, child):
            poll.unregister(door)
            deadline_s = time.monotonic() + HANG_UP_S  # noqa: TID251
            _signal(child, signal.SIGHUP)


def _pass_on(door: socket.socket, child: int) -> bool:
    """Each byte is a signal for the program's process group; False when nobody sends any more."""
    try:
        received = door.recv(16)
    except OSError:
        return False
    for number in received:
        _signal(child, number)
    return bool(received)


def _signal(child: int, number: int) -> None:
    # We are the one who waits for it, so the number is its own until then.
    for whom in (child, -child):
        try:
            os.kill(whom, number)
        except OSError:
            continue
        if number != signal.SIGHUP:
            return


def _kill_session(host: int, child: int) -> None:
    """SIGKILL to the program and everything in its session."""
    for name in os.listdir(host):
        if not name.isdigit():
            continue
        try:
            descriptor = os.open(f"{name}/stat", os.O_RDONLY | os.O_CLOEXEC, dir_fd=host)
            with os.fdopen(descriptor, "rb") as file:
                content = file.read()
            if int(content[content.rindex(b")") + 2 :].split()[3]) == child:
                os.kill(int(name), signal.SIGKILL)
        except (OSError, ValueError):
            continue
    os.kill(child, signal.SIGKILL)
