"""Attacks from inside a sandbox: each claim is tried from where an app stands."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from oriel.sandbox import Exit

from .conftest import UID, Bench

pytestmark = pytest.mark.real
Play = Callable[[Callable[[Bench], Awaitable[None]]], None]


def attack(play: Play, script: str, **more: object) -> str:
    """What a script prints inside."""
    said: list[str] = []

    async def story(bench: Bench) -> None:
        _, text = await bench.run(f"{{ {script}; }} 2>&1", **more)
        said.append(text)

    play(story)
    return said[0]


def test_the_environment_is_the_one_given_and_no_more(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORIEL_SECRET", "x")
    text = attack(play, "env", env={"ONLY": "this", "PATH": "/usr/bin"})
    assert set(text.split()) - {"SHLVL=1", "_=/usr/bin/env", "PWD=/app"} == {
        "ONLY=this",
        "PATH=/usr/bin",
    }


def test_nothing_is_inherited_but_the_three_streams(play: Play) -> None:
    kept = os.open("/", os.O_RDONLY)
    os.set_inheritable(kept, True)
    try:
        text = attack(play, "ls /proc/self/fd; echo first; ls /proc/1/fd")
    finally:
        os.close(kept)
    own, _ = text.split("first")
    assert own.split() == ["0", "1", "2", "3"]  # 3 is the directory that ls reads


def test_pid_1_keeps_no_file_of_ours_open(play: Play) -> None:
    text = attack(play, "readlink /proc/1/fd/*")
    for place in text.split():
        assert place.startswith(("/dev/null", "pipe:", "anon_inode:", "socket:")), place


def test_only_its_own_processes_are_seen(play: Play) -> None:
    pids = attack(play, "echo /proc/[0-9]*").replace("/proc/", "").split()
    assert set(map(int, pids)) <= {1, 2, 3, 4}


def test_no_new_privileges_and_no_capabilities(play: Play) -> None:
    text = attack(play, "grep -E '^(NoNewPrivs|CapEff|CapBnd|CapPrm|Uid|Groups)' /proc/self/status")
    rows = dict(line.split(":", 1) for line in text.splitlines())
    assert rows["NoNewPrivs"].strip() == "1"
    assert {rows[name].strip() for name in ("CapEff", "CapPrm")} == {"0" * 16}
    assert rows["Uid"].split() == [str(UID)] * 4
    if os.getuid() == 0:
        assert rows["Groups"].split() == []


@pytest.mark.parametrize(
    "script",
    [
        "unshare --user true",
        "unshare --mount true",
        "mount -t tmpfs none /tmp",
        "touch /usr/x",
        "touch /x",
        "touch /dev/x",
        "touch /etc/x",
        "chmod 644 /etc/passwd",
        "echo x::0:0::/:/bin/sh >>/etc/passwd",
        "rm -f /etc/nsswitch.conf",
        "mv /etc/host.conf /etc/gai.conf",
        "touch /run/x",
        "mkdir /var/x",
        "echo 1 >/proc/sys/kernel/sysrq",
        "mknod /tmp/sda b 8 0",
        "cat /etc/shadow",
        "ls /root",
        "ls /home",
        "ls /mnt",
        "chroot / true",
        "su -c true root",
        "kill -0 3000000",
    ],
)
def test_it_is_refused(play: Play, script: str) -> None:
    assert attack(play, f"({script}) >/dev/null 2>&1 && echo DONE").strip() == ""


def test_the_platform_s_files_are_out_of_reach(play: Play, tmp_path: Path) -> None:
    (tmp_path / "master.key").write_text("secret")
    text = attack(
        play, f"cat {tmp_path}/master.key; ls -a / ; cd /proc/1/root && cat etc/shadow; ls /mnt"
    )
    assert "secret" not in text
    assert not {"home", "root", "srv", "mnt", "boot", "sys"} & set(text.split())


def test_a_setuid_file_gives_nothing(play: Play) -> None:
    text = attack(
        play, "cp /usr/bin/id /app/id; chmod 6755 /app/id; /app/id -u; grep /app /proc/mounts"
    )
    assert text.split()[0] == str(UID)
    assert "nosuid" in text


def test_a_library_named_in_the_environment_is_loaded_only_inside(
    play: Play, tmp_path: Path
) -> None:
    """bubblewrap itself starts with an empty environment: LD_PRELOAD must not reach it."""
    env = {"LD_PRELOAD": "/no/such/lib.so", "PATH": "/usr/bin"}

    async def story(bench: Bench) -> None:
        running = await bench.begin("echo up; sleep 1000", env=env)
        while await running.line() != "up":
            continue
        outer = running.confined.record["outer_pid"]
        assert Path(f"/proc/{outer}/environ").read_bytes() == b""
        command = Path(f"/proc/{outer}/cmdline").read_bytes()
        assert b"LD_PRELOAD" not in command
        os.close(running.output)

    play(story)


def test_a_fork_bomb_ends_at_its_own_limit(play: Play) -> None:
    bomb = """
import os
count = 0
try:
    while count < 60:
        if os.fork() == 0:
            os.execlp("sleep", "sleep", "99")
        count += 1
except BlockingIOError:
    print("refused", count)
"""
    refused, count = attack(play, f"exec python3 -c '{bomb}'", processes=20).split()
    assert refused == "refused"
    assert int(count) < 20


def test_two_sandboxes_of_one_uid_do_not_share_a_process_count(play: Play) -> None:
    async def story(bench: Bench) -> None:
        script = "for i in {1..12}; do sleep 1000 & done; echo up; wait"
        first = await bench.begin(script, processes=20)
        second = await bench.begin(script, processes=20)
        assert (await first.line(), await second.line()) == ("up", "up")
        for running in (first, second):
            os.close(running.output)

    play(story)


def test_host_name_and_users_are_synthetic(play: Play) -> None:
    text = attack(play, "cat /etc/hostname; id -un; wc -l </etc/passwd", hostname="web-1")
    assert text == "web-1\napp\n3\n"


def test_no_network_when_none_is_asked_for(play: Play) -> None:
    text = attack(play, "cat /proc/net/dev | tail -n +3 | cut -d: -f1", network="none")
    assert text.split() == ["lo"]


def test_open_files_are_bounded(play: Play) -> None:
    assert attack(play, "ulimit -n; ulimit -c", open_files=123) == "123\n0\n"


def test_exit_of_the_main_process_takes_the_others_along(play: Play) -> None:
    async def story(bench: Bench) -> None:
        outcome, text = await bench.run("setsid bash -c 'sleep 1000; echo late' & exit 3")
        assert (outcome, text) == (Exit(3), "")

    play(story)
