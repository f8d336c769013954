"""Real sandboxes: starting, waiting, ending, finding again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from oriel.faults import Invalid, Unavailable
from oriel.sandbox import Bind, Confined, Confinement, Exit, Overlay, Sandboxes
from oriel.sandbox.confined import TICKS
from oriel.sandbox.confinement import LOST, Limits

from .conftest import UID, Bench

pytestmark = pytest.mark.real
Play = Callable[[Callable[[Bench], Awaitable[None]]], None]


@pytest.mark.parametrize(
    ("script", "ended"),
    [
        ("exit 0", Exit(0)),
        ("exit 7", Exit(7)),
        ("kill -SEGV $$", Exit(139, 11)),
        ("exec /no/such/program", Exit(127)),
        ("setsid sleep 1000 & exit 4", Exit(4)),
    ],
)
def test_how_a_program_ends_is_known(play: Play, script: str, ended: Exit) -> None:
    async def story(bench: Bench) -> None:
        outcome, _ = await bench.run(script + " 2>/dev/null")
        assert outcome == ended

    play(story)


def test_writing_in_app_leaves_the_slug_alone(play: Play) -> None:
    async def story(bench: Bench) -> None:
        outcome, text = await bench.run("echo more >>hello; rm -f hello; touch new; ls; pwd")
        assert (outcome, text) == (Exit(0), "new\n/app\n")
        assert (bench.slug / "hello").read_text() == "hello\n"
        assert os.listdir(bench.slug) == ["hello"]

    play(story)


def test_disk_use_is_bounded(play: Play) -> None:
    async def story(bench: Bench) -> None:
        fill = "for d in /app /tmp /dev/shm; do head -c 3M /dev/zero >$d/x && echo $d full; done"
        _, text = await bench.run(f"({fill}) 2>&1", tmp_bytes=1 << 20, shm_bytes=1 << 20)
        assert text.count("No space left") == 3
        assert "full" not in text

    play(story)


def test_an_empty_app_and_binds(play: Play, tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        box = tmp_path / "a:b,c"
        box.mkdir()
        (box / "seen").write_text("seen\n")
        os.chown(box, UID, UID)
        binds = (Bind(box, "/srv/box", writable=True), Bind(box / "seen", "/srv/file"))
        script = "cat /srv/file; echo out >/srv/box/out; echo x >/srv/file; ls /app | wc -l"
        outcome, text = await bench.run(script, binds=binds, overlay=Overlay(None, size_bytes=4096))
        assert text.splitlines()[0] == "seen"
        assert text.splitlines()[-1] == "0"
        assert outcome == Exit(0)
        assert (box / "out").read_text() == "out\n"
        assert (box / "seen").read_text() == "seen\n"

    play(story)


def test_sigterm_reaches_every_process(play: Play) -> None:
    async def story(bench: Bench) -> None:
        child = 'trap "echo child; exit" TERM; echo up; while :; do read -t 9 <><(:); done'
        script = f"trap 'wait; echo main; exit 9' TERM; setsid bash -c '{child}' & wait"
        running = await bench.begin(script)
        assert await running.line() == "up"
        await running.confined.terminate()
        assert await running.confined.wait() == Exit(9)
        assert running.rest() == "child\nmain\n"

    play(story)


def test_kill_ends_all_and_is_told(play: Play) -> None:
    async def story(bench: Bench) -> None:
        running = await bench.begin("trap '' TERM; echo up; sleep 1000 & sleep 1000")
        await running.line()
        await running.confined.terminate()
        assert await running.confined.kill() == Exit(137, 9)
        assert running.rest().strip() in ("", "Terminated")

    play(story)


def test_it_is_found_again_by_record_or_by_status_file_alone(play: Play) -> None:
    async def story(bench: Bench) -> None:
        running = await bench.begin("echo up; sleep 1000")
        await running.line()
        other = Sandboxes(allowed=bench.sandboxes.capabilities)
        for record in (running.confined.record, {}):
            found = await other.adopt(record, running.status_path)
            assert isinstance(found, Confined)
            assert found.record == running.confined.record
            found.detach()
        found = await other.adopt({}, running.status_path)
        assert isinstance(found, Confined)
        assert await found.kill() == await running.confined.wait() == Exit(137, 9)
        assert await other.adopt({}, running.status_path) == Exit(137, 9)
        assert await other.adopt(found.record, running.status_path) == Exit(137, 9)
        os.close(running.output)

    play(story)


def test_what_a_reused_pid_names_is_not_adopted(play: Play) -> None:
    async def story(bench: Bench) -> None:
        running = await bench.begin("echo up; sleep 1000")
        await running.line()
        record = running.confined.record
        me = os.getpid()
        stranger = running.status_path.parent / "stranger"
        stranger.write_text(
            f'{{"outer": {me}, "outer-start": 1, "boot-id": "{record["boot_id"]}"}}\n'
            f'{{"child-pid": {me}, "pid-namespace": {record["pid_namespace"]}}}\n'
        )
        assert await bench.sandboxes.adopt({}, stranger) == LOST
        other_boot = running.status_path.read_text().replace(record["boot_id"], "another")
        stranger.write_text(other_boot)
        assert await bench.sandboxes.adopt({}, stranger) == LOST
        assert await bench.sandboxes.adopt({}, stranger.with_name("none")) is None
        os.close(running.output)

    play(story)


@pytest.mark.parametrize(("earlier_s", "is_found"), [(0, True), (61, False), (-1, False)])
def test_a_pid_and_a_namespace_that_both_are_anothers_now(
    play: Play, earlier_s: int, is_found: bool
) -> None:
    """Without a record all that is known is the status file; both its numbers were used again."""

    async def story(bench: Bench) -> None:
        running = await bench.begin("echo up; sleep 1000")
        await running.line()
        anothers = running.confined.record
        begun = anothers["child_start"] - earlier_s * TICKS
        told = [
            {"outer": 2**22 - 1, "outer-start": begun, "boot-id": anothers["boot_id"]},
            {"child-pid": anothers["child_pid"], "pid-namespace": anothers["pid_namespace"]},
        ]
        stranger = running.status_path.parent / "stranger"
        stranger.write_text("".join(json.dumps(each) + "\n" for each in told))
        found = await bench.sandboxes.adopt({}, stranger)
        assert isinstance(found, Confined) is is_found
        if isinstance(found, Confined):
            found.detach()
        else:
            assert found == LOST
        os.close(running.output)

    play(story)


def test_a_killed_monitor_loses_the_code_and_not_the_program(play: Play) -> None:
    async def story(bench: Bench) -> None:
        running = await bench.begin("echo up; read -r x < <(sleep 0.05); echo alive; sleep 1000")
        await running.line()
        os.kill(running.confined.record["outer_pid"], signal.SIGKILL)
        assert await running.line() == "alive"
        found = await bench.sandboxes.adopt({}, running.status_path)
        assert isinstance(found, Confined)
        assert await running.confined.kill() == LOST
        assert await found.wait() == LOST
        os.close(running.output)

    play(story)


def test_a_program_outlives_the_spawner_and_the_spawner_is_replaced(play: Play) -> None:
    async def story(bench: Bench) -> None:
        first = await bench.begin("echo up; sleep 1000")
        await first.line()
        server = bench.sandboxes._server
        assert server is not None
        spawner = server.process
        spawner.kill()
        spawner.wait()
        outcome, text = await bench.run("echo again")
        assert (outcome, text) == (Exit(0), "again\n")
        found = await bench.sandboxes.adopt({}, first.status_path)
        assert isinstance(found, Confined)
        os.close(first.output)

    play(story)


def test_a_failed_mount_is_told_with_its_reason(play: Play, tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        for more in (
            {"binds": (Bind(tmp_path / "none", "/x"),)},
            {"overlay": Overlay(tmp_path / "none")},
        ):
            with pytest.raises(Unavailable, match="none: No such file"):
                await bench.begin("true", **more)
        # What bubblewrap itself cannot do is told in the output, and there is no code.
        outcome, text = await bench.run("true", cwd="/none")
        assert outcome == LOST
        assert "/none" in text

    play(story)


def test_a_program_that_cannot_be_executed_has_no_code(play: Play) -> None:
    async def story(bench: Bench) -> None:
        outcome, text = await bench.run("", argv=("/no/such",), processes=0)
        assert outcome == LOST
        assert "No such file" in text

    play(story)


def test_a_sandbox_never_runs_as_root(play: Play) -> None:
    async def story(bench: Bench) -> None:
        if not bench.sandboxes.capabilities.root:
            pytest.skip("we are not root")
        with pytest.raises(Invalid):
            await bench.begin("id", uid=0)

    play(story)


def test_a_cancelled_launch_leaves_nothing_running(play: Play) -> None:
    async def story(bench: Bench) -> None:
        launching = asyncio.ensure_future(bench.begin("sleep 1000"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        launching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await launching
        await asyncio.wait(bench.sandboxes._launching)
        path = bench.root / "run1" / "status"
        found = await bench.sandboxes.adopt({}, path)
        assert isinstance(found, Confined | Exit)
        if isinstance(found, Confined):
            assert await found.wait() in (Exit(137, 9), LOST)  # LOST: not yet begun inside

    play(story)


def test_many_start_side_by_side(play: Play) -> None:
    async def story(bench: Bench) -> None:
        done = await asyncio.gather(*(bench.run(f"echo {i}; exit {i}") for i in range(20)))
        assert done == [(Exit(i), f"{i}\n") for i in range(20)]

    play(story)


def test_a_request_has_a_bound(play: Play) -> None:
    async def story(bench: Bench) -> None:
        small = Sandboxes(allowed=bench.sandboxes.capabilities, limits=Limits(request_bytes=9000))
        await small.start()
        with pytest.raises(Invalid, match="too large"):
            await small.launch(
                Confinement(("x",), {"A": "b" * 9000}, UID),
                stdin=None,
                stdout=1,
                stderr=None,
                status_path=bench.root / "status",
            )
        await small.close()

    play(story)


def test_a_large_environment_arrives_whole(play: Play) -> None:
    async def story(bench: Bench) -> None:
        env = {f"K{i}": "v" * 100 + "é\n" for i in range(500)} | {"PATH": "/usr/bin:/bin"}
        _, text = await bench.run("env -0 | grep -zc '^K'", env=env)
        assert text == "500\n"

    play(story)


@pytest.mark.parametrize("overlays", [True, False])
def test_without_overlays_the_slug_is_copied(play: Play, overlays: bool) -> None:
    async def story(bench: Bench) -> None:
        from dataclasses import replace

        bench.sandboxes._allowed = replace(bench.sandboxes.capabilities, overlay=overlays)
        outcome, text = await bench.run("cat hello; echo x >>hello; rm hello; ls -A /app")
        assert (outcome, text) == (Exit(0), "hello\n")
        assert (bench.slug / "hello").exists()

    play(story)


def test_where_nothing_can_be_mounted_the_copy_is_on_disk(play: Play) -> None:
    async def story(bench: Bench) -> None:
        from dataclasses import replace

        if bench.sandboxes.capabilities.root:
            pytest.skip("only an ordinary user goes without mounts")
        bench.sandboxes._allowed = replace(bench.sandboxes.capabilities, staging="none")
        outcome, text = await bench.run("cat hello; echo more >>hello")
        assert (outcome, text) == (Exit(0), "hello\n")
        assert (bench.slug / "hello").read_text() == "hello\n"
        assert (bench.root / "run1" / "copy" / "hello").read_text() == "hello\nmore\n"

    play(story)
