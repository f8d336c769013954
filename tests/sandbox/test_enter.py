"""One more program inside a running sandbox: what it is, what it may, when it ends; and what the
sandbox's own processes, which may be hostile, can do to it.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import pty
import shutil
import signal
import socket
import struct
import termios
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from oriel.clock import new_id
from oriel.faults import Unavailable
from oriel.sandbox import Entered, Exit, Visit

from .conftest import UID, Bench, Running, bench

pytestmark = pytest.mark.real

Play = Callable[[Callable[[Bench], Awaitable[None]]], None]
ENV = {"HOME": "/app", "PATH": "/usr/bin:/bin", "COLOUR": "blue"}


async def visit(bench: Bench, where: Running, script: str, **more: object) -> tuple[Entered, int]:
    """Start a script inside; what it prints comes out of the descriptor."""
    read, write = os.pipe()
    nothing = os.open(os.devnull, os.O_RDONLY)
    what = Visit(("/bin/bash", "-c", script), ENV, UID, **more)  # type: ignore[arg-type]
    try:
        entered = await bench.sandboxes.enter(
            where.confined, what, stdin=nothing, stdout=write, stderr=write
        )
    except BaseException:
        os.close(read)
        raise
    finally:
        os.close(write)
        os.close(nothing)
    return entered, read


async def said(bench: Bench, where: Running, script: str, **more: object) -> tuple[Exit, str]:
    """Run a script inside to its end: its exit and all that it printed."""
    entered, read = await visit(bench, where, script, **more)
    ended = await entered.wait()
    entered.close()
    with os.fdopen(read, "rb") as file:
        return ended, file.read().decode()


def test_it_is_in_all_of_the_namespaces_and_sees_the_same_files(play: Play) -> None:
    async def story(bench: Bench) -> None:
        kinds = "mnt pid ipc uts user net cgroup"
        show = f"for n in {kinds}; do readlink /proc/self/ns/$n; done"
        running = await bench.begin(
            f"{show}; ulimit -u -n -c; echo mine > /tmp/note; echo ready; exec sleep 100"
        )
        inside = []
        while (line := await running.line()) != "ready":
            inside.append(line)
        ended, text = await said(bench, running, f"{show}; ulimit -u -n -c; cat /tmp/note")
        assert ended == Exit(0)
        assert text.splitlines() == [*inside, "mine"]

    play(story)


def test_it_has_the_apps_uid_its_environment_and_no_rights(play: Play) -> None:
    async def story(bench: Bench) -> None:
        running = await bench.begin("echo ready; exec sleep 100")
        await running.line()
        _, text = await said(
            bench,
            running,
            "id -u; id -G; echo $COLOUR; env | wc -l; pwd; ls /proc/self/fd | wc -l;"
            "grep -E '^(Cap|NoNewPrivs)' /proc/self/status",
        )
        lines = text.splitlines()
        assert lines[:3] == [str(UID), str(UID) if os.getuid() == 0 else lines[1], "blue"]
        # HOME, PATH and COLOUR; PWD, SHLVL and _ are bash's own.
        assert lines[3:5] == ["6", "/app"]
        assert lines[5] == "4", "0, 1, 2 and the directory that ls reads"
        rights = dict(line.split() for line in lines[6:])
        assert rights.pop("NoNewPrivs:") == "1"
        assert set(rights.values()) == {"0" * 16}

    play(story)


def test_nothing_can_be_mounted_or_gained_inside(play: Play) -> None:
    async def story(bench: Bench) -> None:
        running = await bench.begin("echo ready; exec sleep 100")
        await running.line()
        _, text = await said(
            bench,
            running,
            "touch /usr/x 2>/dev/null || echo read-only; unshare -U true 2>/dev/null || echo no;"
            "ls /proc | grep -c '^[0-9]'; kill -0 1 2>&1; echo $?",
        )
        first, second, *_ = text.splitlines()
        assert (first, second) == ("read-only", "no")

    play(story)


@pytest.mark.parametrize(
    ("script", "code"), [("exit 7", 7), ("kill -9 $$", 137), ("nothing-like-it", 127)]
)
def test_its_exit_code_comes(play: Play, script: str, code: int) -> None:
    async def story(bench: Bench) -> None:
        running = await bench.begin("echo ready; exec sleep 100")
        await running.line()
        ended, _ = await said(bench, running, script)
        assert ended.code == code

    play(story)


def test_it_ends_with_the_sandbox(play: Play) -> None:
    async def story(bench: Bench) -> None:
        running = await bench.begin("echo ready; exec sleep 100")
        await running.line()
        entered, read = await visit(bench, running, "sleep 100")
        await running.confined.kill()
        assert (await asyncio.wait_for(entered.wait(), 10)).code == 137
        entered.close()
        os.close(read)
        with pytest.raises(Unavailable, match="it has ended"):
            await visit(bench, running, "true")

    play(story)


def test_a_program_that_is_not_there_is_said(play: Play) -> None:
    async def story(bench: Bench) -> None:
        running = await bench.begin("echo ready; exec sleep 100")
        await running.line()
        what = Visit(("/app/none",), ENV, UID)
        with pytest.raises(Unavailable, match="/app/none: No such file"):
            await bench.sandboxes.enter(running.confined, what, stdin=0, stdout=1, stderr=2)

    play(story)


def test_a_signal_reaches_it(play: Play) -> None:
    async def story(bench: Bench) -> None:
        running = await bench.begin("echo ready; exec sleep 100")
        await running.line()
        entered, read = await visit(
            bench, running, "trap 'echo got it; exit 3' INT; echo set; sleep 100 & wait"
        )
        assert os.read(read, 100) == b"set\n"
        await entered.send(signal.SIGINT)
        assert (await asyncio.wait_for(entered.wait(), 10)).code == 3
        assert os.read(read, 100) == b"got it\n"
        entered.close()
        os.close(read)

    play(story)


def test_whoever_is_gone_takes_it_along(play: Play) -> None:
    """The door closes as it does when control is killed."""

    async def story(bench: Bench) -> None:
        running = await bench.begin("echo ready; exec sleep 100")
        await running.line()
        entered, read = await visit(
            bench, running, "trap 'echo bye; exit' HUP; echo in; sleep 9 & wait"
        )
        assert os.read(read, 100) == b"in\n"
        entered.close()
        os.set_blocking(read, True)
        assert await asyncio.to_thread(os.read, read, 100) == b"bye\n"
        os.close(read)

    play(story)


def test_a_terminal_is_its_controlling_one(play: Play) -> None:
    async def story(bench: Bench) -> None:
        running = await bench.begin("echo ready; exec sleep 100")
        await running.line()
        near, far = pty.openpty()
        fcntl.ioctl(near, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
        what = Visit(
            ("/bin/bash", "-c", "stty size </dev/tty; echo go; sleep 100"), ENV, UID, terminal=True
        )
        entered = await bench.sandboxes.enter(
            running.confined, what, stdin=far, stdout=far, stderr=far
        )
        os.close(far)
        seen = b""
        while b"go" not in seen:
            seen += await asyncio.to_thread(os.read, near, 100)
        assert b"33 99" in seen
        os.write(near, b"\x03")
        assert (await asyncio.wait_for(entered.wait(), 10)).code == 130
        entered.close()
        os.close(near)

    play(story)


def test_the_sandbox_cannot_trace_it_on_its_way_in(play: Play) -> None:
    """Attackers spin over /proc and try to attach to, or read, whoever appears, until its exec.
    What they reach after that is their own app's shell.
    """
    script = r"""
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
print("ready", flush=True)
mine = set(os.listdir("/proc"))
while True:
    for pid in set(os.listdir("/proc")) - mine:
        if not pid.isdigit():
            continue
        try:
            with open(f"/proc/{pid}/maps") as file:
                text = file.read()
            if "python" in text:
                print("SAW", pid, flush=True)
        except OSError:
            pass
"""

    async def story(bench: Bench) -> None:
        spy = bench.slug / "spy.py"
        spy.write_text(script)
        running = await bench.begin("exec python3 /app/spy.py")
        assert await running.line() == "ready"
        for _ in range(40):
            ended, _ = await said(bench, running, "true")
            assert ended.code == 0
        await running.confined.kill()
        assert running.rest() == ""

    play(story)


def test_no_descriptor_and_no_process_is_left(play: Play) -> None:
    async def story(bench: Bench) -> None:
        running = await bench.begin("echo ready; exec sleep 100")
        await running.line()
        await said(bench, running, "true")
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            await said(bench, running, "true")
        assert len(os.listdir("/proc/self/fd")) == before
        first = running.confined.child_pid
        with open(f"/proc/{first}/task/{first}/children") as file:
            assert len(file.read().split()) == 1

    play(story)


def test_a_filter_is_installed_and_one_that_is_not_known_is_not_gone_around(play: Play) -> None:
    """The smallest filter there is: uname is refused, all else allowed."""

    def instruction(code: int, yes: int, no: int, value: int) -> bytes:
        return struct.pack("HBBI", code, yes, no, value)

    uname = 63 if os.uname().machine == "x86_64" else 160
    refuse_uname = (
        instruction(0x20, 0, 0, 0)
        + instruction(0x15, 0, 1, uname)
        + instruction(0x06, 0, 0, 0x00050000 | errno.EPERM)
        + instruction(0x06, 0, 0, 0x7FFF0000)
    )

    async def story(bench: Bench) -> None:
        running = await bench.begin("echo ready; exec sleep 100")
        await running.line()
        _, text = await said(bench, running, "uname 2>&1; grep Seccomp: /proc/self/status")
        assert text.split() == ["Linux", "Seccomp:", "2"], "the filter of all sandboxes"
        _, text = await said(bench, running, "uname 2>&1; true", filter=refuse_uname)
        assert "Operation not permitted" in text
        # As of a platform of another version, or on a machine that it has no filter for.
        bench.sandboxes._filter = ""
        with pytest.raises(Unavailable, match="filter is not known"):
            await said(bench, running, "true")
        _, text = await said(bench, running, "uname 2>&1; true", filter=refuse_uname)
        assert "Operation not permitted" in text

    play(story)


def test_only_the_three_streams_are_inherited(play: Play) -> None:
    async def story(bench: Bench) -> None:
        running = await bench.begin("echo ready; exec sleep 100")
        await running.line()
        leaky, other = socket.socketpair()
        with leaky, other:
            os.set_inheritable(leaky.fileno(), True)
            _, text = await said(bench, running, "ls -l /proc/self/fd")
        assert "socket:" not in text
        assert "oriel" not in text

    play(story)


WALLS = (
    "readlink /proc/self/ns/net; grep -E '^(Seccomp|Seccomp_filters):' /proc/self/status;"
    "cat /proc/self/cgroup /proc/self/oom_score_adj; ip -4 -br addr; unshare --user true; echo $?"
)


@pytest.mark.skipif(
    os.getuid() != 0 or not shutil.which("nft", path="/usr/sbin:/sbin"),
    reason="only root, with nftables",
)
def test_it_is_behind_the_same_walls(tmp_path: Path) -> None:
    """The network, the groups, the filter: those that a platform gives a sandbox of its own."""

    async def story() -> None:
        async with bench(tmp_path, tmp_path) as ready:
            running = await ready.begin(f"{{ {WALLS}; }} 2>&1; echo ready; exec sleep 100")
            inside = []
            while (line := await running.line()) != "ready":
                inside.append(line)
            ended, text = await said(ready, running, WALLS)
            assert ended == Exit(0)
            assert text.splitlines() == inside
            assert inside[0] != os.readlink("/proc/self/ns/net")
            assert inside[1].split() == ["Seccomp:", "2"]
            if ready.sandboxes.cgroups is not None:
                assert "/oriel-" in text
            assert inside[-1] != "0", "a user namespace is refused"

    asyncio.run(story())


def a_group() -> Path | None:
    """A cgroup of our own in a hierarchy that may be written, v2 or v1."""
    for top in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids"):
        place = Path(top) / f"oriel-test-{new_id()}"
        if (Path(top) / "cgroup.procs").exists():
            try:
                place.mkdir()
            except OSError:
                continue
            return place
    return None


def test_it_is_in_the_sandboxs_cgroup(play: Play) -> None:
    group = a_group()
    if group is None:
        pytest.skip("no cgroup can be made here")

    async def story(bench: Bench) -> None:
        running = await bench.begin("echo ready; exec sleep 100")
        await running.line()
        (group / "cgroup.procs").write_text(str(running.confined.child_pid))
        entered, read = await visit(bench, running, "sleep 100 & echo in; wait")
        assert os.read(read, 10) == b"in\n"
        inside = set((group / "cgroup.procs").read_text().split())
        assert len(inside) == 3, "pid 1, the shell that was started, and its child"
        await running.confined.kill()
        await entered.wait()
        entered.close()
        os.close(read)

    try:
        play(story)
    finally:
        group.rmdir()
