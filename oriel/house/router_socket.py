"""Owns the UDP socket that HAProxy logs to. Must not read from it.

`oriel up` holds it and logplex inherits it, so that what HAProxy sends while logplex is being
started again waits in its buffer; an adopting `oriel up` gets it back from logplex.
"""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path

RECEIVE_BYTES = 64 * 1024 * 1024
FETCH_TIMEOUT_S = 5.0

_SO_RCVBUFFORCE = 33
_ANSWER_BYTES_MAX = 65536


def open_socket(port: int) -> socket.socket:
    """A socket on loopback with a large buffer, at `port` again if it is still free."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        _enlarge(made)
        try:
            made.bind(("127.0.0.1", port))
        except OSError:
            made.bind(("127.0.0.1", 0))
    except OSError:
        made.close()
        raise
    return made


def fetch(logplex: Path) -> socket.socket | None:
    """The socket that a running logplex has, or None when it does not hand it out."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.settimeout(FETCH_TIMEOUT_S)
            door.connect(str(logplex))
            door.sendall(b'{"op":"router-socket"}\n')
            return _receive(door)
    except (OSError, ValueError):
        return None


def _receive(door: socket.socket) -> socket.socket | None:
    """Read the answer line; the descriptor comes with any part of it."""
    answer, descriptors = b"", list[int]()
    while b"\n" not in answer and len(answer) < _ANSWER_BYTES_MAX:
        part, more, _, _ = socket.recv_fds(door, 4096, 4)
        descriptors += more
        if not part:
            break
        answer += part
    sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    with contextlib.suppress(ValueError):
        said = json.loads(answer)
        if said.get("ok") and len(sockets) == 1 and sockets[0].type == socket.SOCK_DGRAM:
            return sockets[0]
    for wrong in sockets:
        wrong.close()
    return None


def _enlarge(made: socket.socket) -> None:
    try:
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BYTES)
    except OSError:
        # Without CAP_NET_ADMIN the kernel gives what net.core.rmem_max allows.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
