"""The fork server by itself."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from oriel.sandbox import render, spawner
from oriel.sandbox.capabilities import spawner_environment, try_out


def test_its_descriptor_numbers_are_those_of_render() -> None:
    for name in ("ARGUMENTS_FD", "STATUS_FD", "REPORT_FD", "GATE_FD", "STAGE"):
        assert getattr(spawner, name) == getattr(render, name)


def test_it_stays_small() -> None:
    probe = "import sys, oriel.sandbox.spawner; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", probe],
        env=spawner_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert not loaded & {"asyncio", "subprocess", "dataclasses", "oriel.sandbox.sandboxes"}


@pytest.mark.real
def test_it_ends_with_its_door_and_survives_nonsense() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "oriel.sandbox.spawner", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            env=spawner_environment(),
        )
        theirs.close()
        ours.send(b"no descriptors")
        socket.send_fds(ours, [b"too few"], [0])
        read, write = os.pipe()
        nothing = os.memfd_create("nothing")
        socket.send_fds(ours, [b"s"], [nothing, write, *[nothing] * 5])
        os.close(write)
        os.close(nothing)
        with os.fdopen(read) as report:
            text = report.read()
        assert '"pid"' in text.splitlines()[0]
        assert '"error"' in text.splitlines()[1]
        assert process.poll() is None
        ours.close()
        assert process.wait(5) == 0


@pytest.mark.real
def test_a_trial_says_why_not() -> None:
    if os.geteuid() == 0:
        assert try_out("root") == ""
    assert try_out("root") == "" or "ermitted" in try_out("root")
