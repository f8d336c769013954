"""One-off dynos and `ps:exec` on a whole platform: a real terminal, both ways and to the end; what
becomes of them when the client or the platform is killed; and who may not.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pty
import select
import signal
import socket
import ssl
import struct
import subprocess
import termios
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.story.platform import AppCopy, Platform, Ran, User, eventually, free_port

pytestmark = pytest.mark.real


class Terminal:
    """An `oriel` command at a terminal of its own."""

    def __init__(self, user: User, *argv: str) -> None:
        self.seen = ""
        self.pid, self.near = pty.fork()
        if self.pid == 0:
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
                os.chdir(user.home)
                os.execvpe("oriel", ["oriel", *argv], {**user.env, "TERM": "xterm"})
            finally:
                os._exit(127)

    def wait_for(self, text: str, within_s: float = 20.0) -> None:
        deadline = time.monotonic() + within_s
        while text not in self.seen:
            left = max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([self.near], [], [], left)
            assert ready, f"not within {within_s} s: {text!r}; on the terminal: {self.seen!r}"
            self.seen += os.read(self.near, 1 << 14).decode(errors="replace")

    def type(self, text: str) -> None:
        os.write(self.near, text.encode())

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.near, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    @property
    def is_raw(self) -> bool:
        return not termios.tcgetattr(self.near)[3] & termios.ICANON

    def end(self) -> int:
        try:
            while data := os.read(self.near, 1 << 14):
                self.seen += data.decode(errors="replace")
        except OSError:
            pass  # How a terminal whose program is gone says it.
        os.close(self.near)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture(scope="module")
def app(ned: User) -> AppCopy:
    copy = ned.app("foobaz")
    copy.deploy("one")
    copy.oriel("config:set", "COLOUR=blue")
    copy.settles("up", "web.1")
    return copy


def said_of(app: AppCopy, name: str) -> list[str]:
    return app.logs("--ps", name)


def one_off(app: AppCopy) -> str:
    return str(eventually(lambda: next((n for n in app.states() if n.startswith("run.")), "")))


def piped(user: User, *argv: str, stdin: bytes = b"", wait_s: float = 60.0) -> tuple[int, bytes]:
    """What a command makes of bytes."""
    done = subprocess.run(
        ["oriel", *argv],
        env=user.env,
        cwd=user.home,
        input=stdin,
        capture_output=True,
        timeout=wait_s,
        check=False,
    )
    return done.returncode, done.stdout


def test_a_one_off_is_told_as_heroku_tells_it(app: AppCopy) -> None:
    ran = app.oriel("run", "-e", "WORD=s3cret", 'echo "$COLOUR $WORD"; exit 3', check=False)
    assert (ran.code, ran.out) == (3, "blue s3cret\n"), str(ran)
    name = ran.err.split("\n")[1].split()[0]
    assert said_of(app, name) == [
        f"heroku[{name}]: State changed from starting to up",
        f"heroku[{name}]: Awaiting client",
        f'heroku[{name}]: Starting process with command `echo "$COLOUR $WORD"; exit 3`',
        f"heroku[{name}]: Process exited with status 3",
        f"heroku[{name}]: State changed from up to complete",
    ]
    api = app.logs("--ps", "api")
    line = 'heroku[api]: Starting process with command `echo "$COLOUR $WORD"; exit 3` by '
    assert any(each.startswith(line + "ned@") for each in api), api
    assert "s3cret" not in "".join(app.logs())
    assert name not in app.states()


def test_bytes_pass_both_ways_as_they_are(app: AppCopy) -> None:
    assert piped(app.user, "run", "-a", "foobaz", "cat", stdin=b"hi\n") == (0, b"hi\n")
    every = bytes(range(256)) * 8192 + b"\x04"
    assert piped(app.user, "run", "-a", "foobaz", "--no-tty", "cat", stdin=every) == (0, every)


def test_standard_error_stays_apart(app: AppCopy) -> None:
    ran = app.oriel("run", "echo out; echo err >&2")
    assert ran.out == "out\n"
    assert ran.err.endswith("err\n")


def test_a_reader_that_goes_ends_it(app: AppCopy) -> None:
    shell = "oriel run -a foobaz yes 2>/dev/null | head -n 2"
    ran = app.user.run("bash", "-c", shell)
    assert ran.out == "y\ny\n"
    eventually(lambda: set(app.states()) == {"web.1"}, what="nothing but web.1 is left")


def test_a_slow_reader_holds_the_program(app: AppCopy) -> None:
    """The program counts what it could write; nobody reads."""
    script = (
        "import os, signal, sys\n"
        "n = 0\n"
        "def tell(*_):\n"
        "    print(n, file=open('/tmp/count', 'w'), flush=True); os._exit(0)\n"
        "signal.signal(signal.SIGALRM, tell)\n"
        "signal.setitimer(signal.ITIMER_REAL, 2)\n"
        "while True:\n"
        "    n += os.write(1, b'x' * 65536)\n"
    )
    read, write = os.pipe()
    process = subprocess.Popen(
        ["oriel", "run", "-a", "foobaz", f'python3 -c "{script}"; cat /tmp/count >&2'],
        env=app.user.env,
        stdin=subprocess.DEVNULL,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    time.sleep(3)  # The program's own timer; what it counts is looked at, not how long it took.
    with os.fdopen(read, "rb") as file:
        got = len(file.read())
    _, err = process.communicate(timeout=30)
    written = int(err.splitlines()[-1])
    assert got == written
    assert written < 16 << 20, "no more than the buffers on the way"


def test_a_terminal(app: AppCopy) -> None:
    terminal = Terminal(app.user, "run", "-a", "foobaz", "bash", "--norc")
    terminal.wait_for("$ ")
    assert terminal.is_raw
    terminal.type("stty size; echo $TERM; tty\r")
    terminal.wait_for("30 100")
    terminal.wait_for("xterm")
    terminal.wait_for("/dev/console")
    terminal.resize(120, 40)
    terminal.type("echo $COLUMNS; stty size\r")
    terminal.wait_for("40 120")
    terminal.type("sleep 100\r")
    time.sleep(0.3)  # Until bash has put it in the foreground: else ^C ends the line instead.
    terminal.type("\x03")
    terminal.wait_for("^C")
    terminal.type("echo status $?\r")
    terminal.wait_for("status 130")
    terminal.type("sleep 101\r")
    time.sleep(0.3)
    terminal.type("\x1a")
    terminal.wait_for("Stopped")
    terminal.type("fg\r")
    time.sleep(0.3)
    terminal.type("\x03")
    terminal.type("exit 7\r")
    assert terminal.end() == 7, terminal.seen


def test_it_can_be_stopped_and_the_client_is_told(app: AppCopy) -> None:
    terminal = Terminal(app.user, "run", "-a", "foobaz", "bash", "--norc")
    terminal.wait_for("$ ")
    name = one_off(app)
    app.oriel("ps:stop", name)
    assert terminal.end() == 129, "bash ignores SIGTERM at a prompt; it gets SIGHUP too"
    assert f"{name}: stopped by ned@foobazco.com" in terminal.seen
    assert said_of(app, name)[-3:] == [
        f"heroku[{name}]: Stopping all processes with SIGTERM",
        f"heroku[{name}]: Process exited with status 129",
        f"heroku[{name}]: State changed from up to complete",
    ]


def test_a_client_that_is_killed_hangs_up(app: AppCopy) -> None:
    command = "trap 'echo x > /tmp/x; exit 4' HUP; echo in; while :; do sleep 0.1; done"
    terminal = Terminal(app.user, "run", "-a", "foobaz", command)
    terminal.wait_for("in\r\n")
    name = one_off(app)
    os.kill(terminal.pid, signal.SIGKILL)
    terminal.end()
    eventually(lambda: name not in app.states(), what="it has ended")
    assert said_of(app, name)[-3:] == [
        f"heroku[{name}]: Client connection closed. Sending SIGHUP to all processes",
        f"heroku[{name}]: Process exited with status 4",
        f"heroku[{name}]: State changed from up to complete",
    ]


def test_a_time_to_live(app: AppCopy) -> None:
    ran = app.oriel("run", "--ttl", "1s", "sleep 100", check=False)
    assert ran.code == 143
    assert "its time to live was over" in ran.err


def test_detached(app: AppCopy) -> None:
    ran = app.oriel("run", "--detached", "-s", "standard-2x", "echo working; exit 5")
    name = ran.out.strip()
    assert f"oriel logs --tail --ps {name}" in ran.err
    assert f"oriel ps:stop {name}" in ran.err

    def told() -> list[str]:
        said = said_of(app, name)
        return said if said and said[-1].endswith("to complete") else []

    assert eventually(told) == [
        f"heroku[{name}]: Starting process with command `echo working; exit 5`",
        f"heroku[{name}]: State changed from starting to up",
        f"app[{name}]: working",
        f"heroku[{name}]: Process exited with status 5",
        f"heroku[{name}]: State changed from up to complete",
    ] or "working" in "".join(told())


def test_inside_a_running_dyno(app: AppCopy) -> None:
    command = "ps -eo args | grep [s]erver.py; echo $COLOUR $DYNO; exit 6"
    ran = app.oriel("ps:exec", "web.1", command, check=False)
    assert ran.code == 6, str(ran)
    assert "python3 server.py" in ran.out
    assert "blue web.1" in ran.out
    told = "heroku[web.1]: Process started in web.1 exited with status 6"
    eventually(lambda: told in said_of(app, "web.1"), what=told)
    api = app.logs("--ps", "api")
    assert any("Starting process in web.1 with command `ps -eo" in line for line in api), api


def test_its_size_is_what_it_may_have(app: AppCopy) -> None:
    assert app.oriel("run", "ulimit -u").out == "256\n"
    assert app.oriel("run", "-s", "Standard-2X", "ulimit -u").out == "512\n"
    assert app.oriel("ps:exec", "web.1", "ulimit -u").out == "256\n"


def hog(mebibytes: int, lasts_s: float = 0.0) -> str:
    """A command that takes so much memory, keeps it for a while, and says that it had it."""
    script = (
        f"held = [bytearray(b'x') * (16 << 20) for _ in range({mebibytes} // 16)]; "
        f"import time; time.sleep({lasts_s}); print('had it all')"
    )
    return f'python3 -c "{script}"'


@pytest.mark.parametrize(
    ("size", "mebibytes", "is_over", "ends"),
    [
        ("standard-1x", 400, False, False),
        ("standard-1x", 700, True, False),
        ("standard-1x", 1100, True, True),
        ("standard-2x", 700, False, False),
        ("standard-2x", 1100, True, False),
    ],
)
def test_its_size_is_the_memory_that_it_may_have(
    app: AppCopy, size: str, mebibytes: int, is_over: bool, ends: bool
) -> None:
    """By filling it: R14 beyond the quota of its size, R15 and SIGKILL beyond the end."""
    # Where no alarm rings it is looked at every 5 s.
    is_sampled = "no control group can be written" in app.user.platform.said()
    lasts_s = 7.0 if is_sampled else 0.5
    ran = app.oriel("run", "-s", size, hog(mebibytes, lasts_s), check=False)
    assert (ran.code, ran.out) == ((137, "") if ends else (0, "had it all\n")), str(ran)
    name = next(each for each in ran.err.split() if each.startswith("run.")).rstrip(",.")
    told = [each for each in said_of(app, name) if "Error R1" in each]
    assert bool(told) is is_over, told
    assert any("Error R15 (Memory quota vastly exceeded)" in each for each in told) is ends, told
    assert ends or not is_over or "Error R14 (Memory quota exceeded)" in told[0], told


def test_a_dyno_that_does_not_run_is_not_entered(app: AppCopy) -> None:
    ran = app.oriel("ps:exec", "worker.7", "ls", check=False)
    assert ran.code == 4
    assert "has no dyno worker.7" in ran.err
    app.oriel("ps:scale", "worker=1")
    app.settles("up", "web.1", "worker.1")
    app.oriel("ps:stop", "worker.1")
    eventually(lambda: app.states()["worker.1"] == "down")
    ran = app.oriel("ps:exec", "worker.1", "ls", check=False)
    assert ran.code == 5
    assert "worker.1 is down: only a dyno that runs can be entered." in ran.err
    app.oriel("ps:scale", "worker=0")


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("-s", "huge", "ls"), 3, "There is no dyno size 'huge'."),
        (("--ttl", "25h", "ls"), 3, "a day at most"),
        (("--type", "router", "ls"), 3, "names a part of the platform"),
        (("--type", "a b", "ls"), 3, "is not allowed"),
        (("-e", "1=2", "ls"), 3, "is not allowed"),
        (("-e", "NOSIGN", "ls"), 2, "is not NAME=VALUE"),
        (("--ttl", "soon", "ls"), 2, "is not a time"),
        ((" ",), 3, '"command" is empty'),
    ],
)
def test_what_cannot_be_run(app: AppCopy, argv: tuple[str, ...], code: int, said: str) -> None:
    ran = app.oriel("run", *argv, check=False)
    assert ran.code == code, str(ran)
    assert said in ran.err


def test_too_many(app: AppCopy) -> None:
    names = [app.oriel("run", "--detached", "sleep 300").out.strip() for _ in range(25)]
    ran = app.oriel("run", "--detached", "sleep 300", check=False)
    assert ran.code == 7
    assert "foobaz has 25 one-off dynos already" in ran.err
    app.oriel("ps:stop", "run")
    eventually(lambda: not set(names) & set(app.states()), what="all have ended")


# --- from the wrong side


def ask(platform: Platform, user: User, path: str, body: Any) -> tuple[int, Any]:
    kept = json.loads((user.home / ".config/oriel/credentials.json").read_text())
    token = next(iter(kept["apis"].values()))["token"]
    request = urllib.request.Request(
        platform.api + path,
        method="POST",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def knock(url: str, authority: str, line: bytes) -> bytes:
    """What a client hears first; nothing where it is sent away."""
    parts = urllib.parse.urlsplit(url)
    context = ssl.create_default_context(cadata=authority)
    place = (parts.hostname or "", parts.port or 0)
    with (
        socket.create_connection(place, 10) as plain,
        context.wrap_socket(plain, server_hostname=parts.hostname) as wire,
    ):
        wire.sendall(line)
        try:
            return wire.recv(100)
        except OSError:
            return b""


def test_anothers_app_and_anothers_session(app: AppCopy, platform: Platform) -> None:
    kate = platform.invite("kate@foobazco.com")
    for path in ("/apps/foobaz/dynos", "/apps/foobaz/dynos/web.1"):
        status, answer = ask(platform, kate, path, {"command": "ls", "attach": True})
        assert (status, answer["message"]) == (404, "Couldn't find that app.")
    status, mine = ask(platform, app.user, "/apps/foobaz/dynos", {"command": "id", "attach": True})
    assert status == 201
    url, authority = mine["attach_url"], mine["oriel"]["authority"]
    secret = urllib.parse.urlsplit(url).path[1:]
    other = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    assert knock(url, authority, other.encode() + b"\r\n") == b""
    assert knock(url, authority, b"GET / HTTP/1.0\r\n\r\n") == b""
    assert knock(url, authority, secret.encode() + b"\r\n") == b"rendezvous\r\n"
    assert knock(url, authority, secret.encode() + b"\r\n") == b""
    eventually(lambda: mine["name"] not in app.states(), what="it has ended")


def test_the_authority_is_told_to_who_is_logged_in(app: AppCopy, platform: Platform) -> None:
    pem = app.oriel("ca").out
    assert pem.startswith("-----BEGIN CERTIFICATE-----")
    assert "PRIVATE" not in pem
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(platform.api + "/oriel/authority", timeout=10)
    with refused.value as error:
        assert error.code == 401


# --- kills


def test_a_platform_that_is_killed(own_platform: Platform) -> None:
    """Control gets SIGKILL: an attached one-off gets SIGHUP and its end is known afterwards, the
    client says what happened and leaves its terminal as it was; a detached one goes on.
    """
    own_platform.more = ("--rendezvous", f"127.0.0.1:{free_port()}")
    own_platform.start()
    app = own_platform.set_up("ned@foobazco.com").app("foobaz")
    app.deploy("one")
    app.settles("up", "web.1")
    detached = app.oriel(
        "run", "--detached", "echo begun; sleep 6; echo survived; exit 4"
    ).out.strip()
    terminal = Terminal(
        app.user, "run", "-a", "foobaz", "trap 'exit 8' HUP; echo in; sleep 99 & wait"
    )
    terminal.wait_for("in\r\n")
    attached = next(n for n in app.states() if n.startswith("run.") and n != detached)
    visit = Terminal(app.user, "ps:exec", "-a", "foobaz", "web.1", "echo in; exec sleep 4242")
    visit.wait_for("in\r\n")
    own_platform.kill("control")
    assert not _is_raw_after(terminal)
    for each in (terminal, visit):
        assert each.end() == 255, each.seen
        assert "the connection broke off" in each.seen
    own_platform.is_ready()
    assert app.states()[detached] == "up"
    eventually(lambda: attached not in app.states(), what="its end is known")
    assert said_of(app, attached)[-2:] == [
        f"heroku[{attached}]: Process exited with status 8",
        f"heroku[{attached}]: State changed from up to complete",
    ]
    eventually(
        lambda: (
            said_of(app, detached)[-2:]
            == [
                f"heroku[{detached}]: Process exited with status 4",
                f"heroku[{detached}]: State changed from up to complete",
            ]
        ),
        what="the detached one came to its end by itself",
    )
    assert f"app[{detached}]: survived" in said_of(app, detached)
    eventually(lambda: not _runs("sleep 4242"), what="nothing is left of ps:exec")
    assert app.oriel("run", "echo again").out == "again\n"


def _is_raw_after(terminal: Terminal) -> bool:
    def is_cooked() -> bool:
        return not terminal.is_raw

    eventually(is_cooked, what="the terminal is as it was")
    return terminal.is_raw


def _runs(command: str) -> bool:
    wanted = command.replace(" ", "\0").encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cmdline").read_bytes().rstrip(b"\0") == wanted:
                return True
        except OSError:
            continue
    return False


@pytest.mark.long
def test_a_hundred_megabytes(app: AppCopy) -> None:
    big = os.urandom(1 << 20) * 100
    code, back = piped(app.user, "run", "-a", "foobaz", "cat", stdin=big, wait_s=110)
    assert code == 0
    assert hashlib.sha256(back).digest() == hashlib.sha256(big).digest()


def test_help_has_examples(app: AppCopy) -> None:
    ran: Ran = app.oriel("ca", "--help")
    assert "NODE_EXTRA_CA_CERTS" in ran.out


def test_a_program_that_does_not_read(app: AppCopy) -> None:
    """A client with more input than anybody takes: ^C gets through, and so does its end."""
    command = "trap 'echo got it; exit 3' INT; echo in; sleep 99 & wait"
    process = subprocess.Popen(
        ["oriel", "run", "-a", "foobaz", command],
        env=app.user.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    os.set_blocking(process.stdin.fileno(), False)
    assert process.stdout.readline() == b"in\n"
    for _ in range(40):
        with contextlib.suppress(BlockingIOError):
            os.write(process.stdin.fileno(), b"x" * 65536)
        time.sleep(0.005)  # For the client to take what it will.
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == b"got it\n"
    assert process.wait(20) == 3
    process.stdin.close()
    process.stdout.close()
