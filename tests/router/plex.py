"""A real logplex that stores the router's lines, to be killed and started again."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import TracebackType

from .conftest import until


class Logplex:
    """A logplex that inherits the router's socket, started again whenever it is killed."""

    def __init__(self, data: Path, sock: socket.socket) -> None:
        self.data, self.sock = data, sock
        (data / "channels" / "channel-foo").mkdir(parents=True)
        self.start()

    def __enter__(self) -> Logplex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        number = self.sock.fileno()
        argv = [sys.executable, "-P", "-m", "oriel.logplex.process", "--data", str(self.data)]
        self.process = subprocess.Popen([*argv, "--router-fd", str(number)], pass_fds=(number,))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def is_up(self) -> None:
        """Wait until it answers."""

        def answers() -> bool:
            with contextlib.suppress(OSError):
                return bool(self.status())
            return False

        until(answers, "logplex answers")

    def status(self) -> dict[str, int]:
        with socket.socket(socket.AF_UNIX) as door:
            door.connect(str(self.data / "run" / "logplex.sock"))
            door.sendall(b'{"op":"status"}\n')
            said: dict[str, int] = json.loads(door.makefile().readline())["router"]
            return said

    @property
    def _text(self) -> bytes:
        paths = (self.data / "channels" / "channel-foo").glob("*.log")
        return b"".join(path.read_bytes() for path in sorted(paths))

    def stored(self) -> Counter[int]:
        """How often each number that was asked for is there."""
        return Counter(map(int, re.findall(rb'path="/n/(\d+)"', self._text)))

    def lines(self) -> list[bytes]:
        """All that is stored."""
        return self._text.splitlines()
