"""Logging in on a terminal, being somebody, and logging out again."""

from __future__ import annotations

import os
import pty
import select
import signal
import stat
import time
from collections.abc import Callable

import pytest

from .heroku import Heroku
from .place import NED, PASSWORD, Place, Refused


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, heroku: Heroku, *argv: str) -> None:
        self.seen = ""
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(heroku.home)
                whole = heroku.argv(*argv)
                os.execvpe(whole[0], whole, {**heroku.env, "TERM": "xterm"})
            finally:
                os._exit(127)

    def wait_for(self, text: str, within_s: float = 30.0) -> None:
        deadline = time.monotonic() + within_s
        while text not in self.seen:
            left = max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([self._fd], [], [], left)
            assert ready, f"not within {within_s} s: {text!r}; on the terminal: {self.seen!r}"
            self.seen += os.read(self._fd, 1 << 14).decode(errors="replace")

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode() + b"\r")

    def end(self) -> int:
        """The exit code, once all was read."""
        try:
            while data := os.read(self._fd, 1 << 14):
                self.seen += data.decode(errors="replace")
        except OSError:
            pass  # How a terminal whose program is gone says it.
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def test_login_whoami_logout(heroku_as: Callable[[str | None], Heroku], oriel: Place) -> None:
    heroku = heroku_as(None)
    assert heroku("whoami", check=False).code == 100
    terminal = Terminal(heroku, "login", "-i")
    try:
        terminal.wait_for("Email")
        terminal.type(NED)
        terminal.wait_for("Password")
        terminal.type(PASSWORD)
        terminal.wait_for("Logged in as")
    except BaseException:
        terminal.kill()
        raise
    assert terminal.end() == 0, terminal.seen
    assert PASSWORD not in terminal.seen

    netrc = heroku.home / ".netrc"
    assert stat.S_IMODE(netrc.stat().st_mode) == 0o600
    words = netrc.read_text().split()
    secret = words[words.index("password") + 1]
    assert heroku("whoami").out.strip() == NED
    assert oriel.ask("GET", "/account", authorization=f"Bearer {secret}")["email"] == NED
    assert "Logging out... done" in heroku("logout").err
    with pytest.raises(Refused) as revoked:
        oriel.ask("GET", "/account", authorization=f"Bearer {secret}")
    assert revoked.value.status == 401
    assert oriel.ask("GET", "/account")["email"] == NED, "another token of Ned's was revoked"
    assert heroku("whoami", check=False).code == 100


def test_a_token_that_is_wrong(heroku_as: Callable[[str | None], Heroku]) -> None:
    known = heroku_as(NED)
    wrong = Heroku(known.bin, known.api, known.home, "oriel-wrong", known.enter)
    refused = wrong("maintenance", "-a", "any", check=False)
    assert refused.code == 1
    assert "The token provided to HEROKU_API_KEY is invalid" in refused.err
