"""A network of its own for a program that must reach some ports of this machine and nothing else.

A thread makes a network namespace and, inside it, a listener on 127.0.0.1 for each; sockets belong
to the namespace where they were made, so that an ordinary thread can accept from it and connect,
outside, to the real port. The program enters the namespace by `nsenter`. Needs root.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Iterator

_CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS = 0x8914
_UP_AND_RUNNING = 0x1 | 0x40


class Island:
    """The namespace; `enter` is the beginning of an argv that runs inside it."""

    def __init__(self, *ports: int) -> None:
        self._ports = ports
        self._namespace = -1
        self._listeners: list[socket.socket] = []
        self._problem: OSError | None = None
        maker = threading.Thread(target=self._make)
        maker.start()
        maker.join()
        if self._problem:
            raise self._problem
        for listener in self._listeners:
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    @property
    def enter(self) -> tuple[str, ...]:
        return ("nsenter", f"--net=/proc/{os.getpid()}/fd/{self._namespace}", "--")

    def close(self) -> None:
        for listener in self._listeners:
            # Closing alone does not wake an accept.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        os.close(self._namespace)

    def _make(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            if libc.unshare(_CLONE_NEWNET):
                error = ctypes.get_errno()
                raise OSError(error, os.strerror(error))
            self._namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            with socket.socket() as any_socket:
                request = struct.pack("16sH14x", b"lo", _UP_AND_RUNNING)
                fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)
            self._listeners = [
                socket.create_server(("127.0.0.1", port), backlog=64) for port in self._ports
            ]
        except OSError as problem:
            self._problem = problem

    def _accept(self, listener: socket.socket) -> None:
        port = listener.getsockname()[1]
        while True:
            try:
                inside, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(inside, port), daemon=True).start()

    def _relay(self, inside: socket.socket, port: int) -> None:
        try:
            outside = socket.create_connection(("127.0.0.1", port))
        except OSError:
            inside.close()
            return
        outside.settimeout(None)
        back = threading.Thread(target=_copy, args=(outside, inside), daemon=True)
        back.start()
        _copy(inside, outside)
        back.join()
        inside.close()
        outside.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def island(*ports: int) -> Iterator[Island]:
    made = Island(*ports)
    try:
        yield made
    finally:
        made.close()
