"""Dynos on this machine: attacks from inside one, and what kills leave in its directory."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from oriel.faults import Unavailable
from oriel.manifold.launcher import LaunchSpec
from oriel.manifold.local import launcher as local
from oriel.manifold.local import launching, ready
from oriel.manifold.local import place as places
from oriel.manifold.local.place import remove
from oriel.sandbox import Exit, Overlay
from tests.manifold.test_launcher_contract import UID, Hand, LocalBench, Story, opened

pytestmark = pytest.mark.real
ROOT_ONLY = pytest.mark.skipif(os.getuid() != 0, reason="an app has no uid of its own without root")
Tell = Callable[[Story], None]


@pytest.fixture
def tell(tmp_path: Path) -> Tell:
    def run(story: Story) -> None:
        async def whole() -> None:
            async with opened("local", tmp_path) as bench:
                await story(Hand(bench))

        asyncio.run(whole())

    return run


def printed(tell: Tell, command: str, type: str = "worker") -> str:
    """All that a command prints in a dyno."""
    said: list[str] = []

    async def story(hand: Hand) -> None:
        spec = await hand.start(command, type)
        await hand.end_of(spec)
        said.append(hand.bench.said(spec.instance))

    tell(story)
    return said[0]


def place_of(hand: Hand, spec: LaunchSpec) -> Path:
    assert isinstance(hand.bench, LocalBench)
    return hand.bench.data / "dynos" / spec.instance


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- what a dyno may not


@ROOT_ONLY
@pytest.mark.parametrize(
    "attack",
    [
        "head -c 1 <>/proc/self/fd/1",
        "head -c 1 </proc/self/fd/1",
        "head -c 1 <&1",
        "chmod 0666 /proc/self/fd/1 && head -c 1 </proc/self/fd/1",
        "python3 -c 'import os; os.fchmod(1, 0o666); os.open(\"/proc/self/fd/1\", os.O_RDONLY)'",
        "chown $(id -u) /proc/self/fd/1",
        "setfacl -m u:$(id -u):rw /proc/self/fd/1",
        "python3 -c 'import os; os.read(1, 1)'",
    ],
)
def test_it_cannot_read_its_own_output_back(tell: Tell, attack: str) -> None:
    said = printed(tell, f"echo private; ({attack}) 2>/dev/null && echo STOLEN; exit 0")
    assert said == "private\n"


def test_it_may_open_its_output_anew_to_write(tell: Tell) -> None:
    assert printed(tell, "echo one >/dev/stdout; echo two >/dev/stderr; exit 0") == "one\ntwo\n"


def test_the_environment_is_config_and_five_words_of_oriels(tell: Tell) -> None:
    text = printed(tell, "/usr/bin/env", "web")
    env = dict(line.split("=", 1) for line in text.splitlines())
    port = env.pop("PORT")
    assert port.isdigit()
    shell = {"SHLVL", "_", "PWD", "OLDPWD"}
    assert {key: value for key, value in env.items() if key not in shell} == {
        "SECRET": "s3cret",
        "DYNO": "web.1",
        "HOME": "/app",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
    }


def test_config_is_in_no_command_line_and_no_file_of_ours(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        spec = await hand.start("echo up; sleep 1000")
        await hand.says(spec, "up")
        for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                assert b"s3cret" not in cmdline.read_bytes(), cmdline
            except OSError:
                continue
        for path in place_of(hand, spec).iterdir():
            assert path.is_fifo() or b"s3cret" not in path.read_bytes(), path

    tell(story)


def test_no_descriptor_is_inherited(tell: Tell) -> None:
    kept = os.open("/", os.O_RDONLY)
    os.set_inheritable(kept, True)
    with socket.socket() as listener:
        listener.set_inheritable(True)
        try:
            text = printed(tell, "ls /proc/self/fd; exit 0")
        finally:
            os.close(kept)
    assert text.split() == ["0", "1", "2", "3"]  # 3 is the directory that ls reads


def test_the_platform_and_other_apps_are_out_of_reach(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        bench = hand.bench
        assert isinstance(bench, LocalBench)
        other = bench.data / "slugs" / "other" / "digest"
        other.mkdir(parents=True)
        for path in (other / "code", bench.data / "master.key", bench.data / "oriel.db"):
            path.write_text("STOLEN")
            path.chmod(0o644)
        neighbour = await hand.start("echo STOLEN >/app/mine; echo up; sleep 1000")
        await hand.says(neighbour, "up")
        targets = [
            *(other / "code", bench.data / "master.key", bench.data / "oriel.db"),
            bench.data / "dynos" / neighbour.instance / "identity.json",
            bench.data,
            "/app/mine",
            "/app/../../data/master.key",
            "/proc/1/root" + str(bench.data),
        ]
        reads = "; ".join(f"cat {each}; ls {each}; cat {each}/*" for each in targets)
        spec = await hand.start(f"({reads}) 2>/dev/null; ls /proc | grep -c '^[0-9]'; exit 0")
        assert await hand.end_of(spec) == Exit(0)
        assert "STOLEN" not in bench.said(spec.instance)
        assert int(bench.said(spec.instance)) <= 6, "it sees processes that are not its own"

    tell(story)


def test_its_writes_do_not_reach_the_slug_nor_the_next_dyno(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        first = await hand.start("echo changed >hello && rm -f gone; touch new; cat hello; exit 0")
        assert await hand.end_of(first) == Exit(0)
        assert hand.bench.said(first.instance) == "changed\n"
        assert (hand.bench.slug / "hello").read_text() == "hello\n"
        assert [each.name for each in hand.bench.slug.iterdir()] == ["hello"]
        second = await hand.start("cat hello; ls; exit 0")
        await hand.end_of(second)
        assert hand.bench.said(second.instance) == "hello\nhello\n"

    tell(story)


def test_its_disk_is_bounded(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    real = launching.Overlay
    monkeypatch.setattr(launching, "Overlay", lambda slug: real(slug, size_bytes=2 << 20))

    async def story(hand: Hand) -> None:
        assert isinstance(hand.bench, LocalBench)
        if hand.bench._sandboxes.capabilities.staging == "none":
            pytest.skip("nothing can be mounted here, so nothing is bounded")
        spec = await hand.start("head -c 8M /dev/zero >big; stat -c %s big; exit 0")
        await hand.end_of(spec)
        said = hand.bench.said(spec.instance)
        assert "No space left" in said
        assert int(said.split()[-1]) <= 2 << 20

    tell(story)


def test_terminate_reaches_all_of_its_processes(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        child = "trap 'echo child heard; exit' TERM; echo child up; while :; do sleep 0.05; done"
        command = (
            f'setsid bash -c "{child}" & trap "echo main heard; wait; exit 5" TERM; '
            "echo main up; while :; do sleep 0.05; done"
        )
        spec = await hand.start(command)
        await hand.says(spec, "main up")
        await hand.says(spec, "child up")
        await hand.bench.launcher.terminate(spec.instance)
        assert await hand.end_of(spec) == Exit(5)
        assert "child heard" in hand.bench.said(spec.instance)
        assert "main heard" in hand.bench.said(spec.instance)

    tell(story)


def test_a_profile_of_the_slug_and_of_the_app(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        slug = hand.bench.slug
        (slug / ".oriel").mkdir()
        profile = {"path": ["/app/bin"], "env": {"WHO": "build", "SECRET": "no"}}
        (slug / ".oriel" / "profile.json").write_text(json.dumps(profile))
        (slug / ".profile.d").mkdir()
        (slug / ".profile.d" / "a.sh").write_text('export WHO="$WHO and a"\n')
        (slug / ".profile").write_text('export WHO="$WHO and home"\n')
        spec = await hand.start('echo "$WHO $SECRET ${PATH%%:*}"; exit 0')
        await hand.end_of(spec)
        assert hand.bench.said(spec.instance) == "build and a and home s3cret /app/bin\n"

    tell(story)


# --- what is seen of it

LISTENER = """
import socket, sys, time
s = [socket.create_server(("127.0.0.1", 8000)), socket.create_server(("", 8001)),
     socket.create_server(("::1", 8002), family=socket.AF_INET6)]
print("up", flush=True)
time.sleep(1000)
"""


def test_where_it_listens(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        (hand.bench.slug / "listen.py").write_text(LISTENER)
        spec = await hand.start("exec python3 listen.py")
        await hand.says(spec, "up")
        found = await hand.bench.launcher.listening(spec.instance)
        assert {(each.host, each.port) for each in found} == {
            ("127.0.0.1", 8000),
            ("0.0.0.0", 8001),
            ("::1", 8002),
        }

    tell(story)


def grouped_or_not(hand: Hand, *, grouped: bool) -> None:
    """Its control group tells what it takes; where there is none, its processes do."""
    assert isinstance(hand.bench, LocalBench)
    if not grouped:
        hand.bench._sandboxes._cgroups = None
    elif hand.bench._sandboxes.cgroups is None:
        pytest.skip("no control group can be written here")


HOLD = "x = bytearray(40 << 20); print('up', flush=True); import time; time.sleep(1000)"


@pytest.mark.parametrize("grouped", [True, False])
def test_its_memory_and_processes_are_seen(tell: Tell, grouped: bool) -> None:
    async def story(hand: Hand) -> None:
        grouped_or_not(hand, grouped=grouped)
        spec = await hand.start(f'sleep 1000 & python3 -c "{HOLD}"')
        await hand.says(spec, "up")
        usage = await hand.bench.launcher.look(spec.instance)
        assert usage is not None
        assert 40 << 20 <= usage.memory_bytes < 80 << 20
        assert usage.cpu_s > 0
        assert usage.processes == 3

    tell(story)


@pytest.mark.parametrize("grouped", [True, False])
def test_one_over_its_quota_is_told_of(
    tell: Tell, grouped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = local.sizes.Size("standard-1x", 30 << 20, 4.0, 100, 64)
    monkeypatch.setitem(local.sizes.SIZES, "standard-1x", size)
    monkeypatch.setattr("oriel.manifold.local.memory.SAMPLE_S", 0.05)

    async def story(hand: Hand) -> None:
        grouped_or_not(hand, grouped=grouped)
        spec = await hand.start(f'exec python3 -c "{HOLD}"')
        await hand.until(lambda: hand.over, "it is told of")
        instance, usage = hand.over[0]
        assert instance == spec.instance
        assert usage.memory_bytes > size.quota_bytes
        await hand.bench.desert()
        hand = Hand(hand.bench)
        await hand.bench.launcher.adopt()
        await hand.until(lambda: hand.over, "it is told of to the next control")

    tell(story)


def test_that_the_kernel_ended_it_is_known_to_the_next_control(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = local.sizes.Size("standard-1x", 20 << 20, 1.0, 100, 64)
    monkeypatch.setitem(local.sizes.SIZES, "standard-1x", size)
    monkeypatch.setattr(launching, "Overlay", lambda slug: Overlay(slug, size_bytes=1 << 20))

    async def story(hand: Hand) -> None:
        grouped_or_not(hand, grouped=True)
        spec = await hand.start("exec python3 -c 'x = [bytearray(1 << 20) for _ in range(2000)]'")
        await hand.end_of(spec)
        await hand.bench.desert()
        found = await hand.bench.launcher.adopt()
        assert [each.exit for each in found] == [Exit(137, 9, out_of_memory=True)]

    tell(story)


def test_what_a_kill_left_unlimited_is_limited_again(tell: Tell) -> None:
    """A kill between its start and its being put into its group."""

    async def story(hand: Hand) -> None:
        grouped_or_not(hand, grouped=True)
        assert isinstance(hand.bench, LocalBench)
        cgroups = hand.bench._sandboxes.cgroups
        assert cgroups is not None
        spec = await hand.start("sleep 1000 & echo up; sleep 1000")
        await hand.says(spec, "up")
        group = cgroups.group(spec.instance)
        members = group.places["memory"] / "cgroup.procs"
        pids = set(members.read_text().split())
        assert len(pids) >= 3
        for place in set(group.places.values()):
            for pid in pids:
                (place.parent.parent / "cgroup.procs").write_text(pid)
        assert members.read_text() == ""
        await hand.bench.desert()
        await hand.bench.launcher.adopt()
        assert set(members.read_text().split()) == pids

    tell(story)


# --- what fails, and what kills leave


def test_a_slug_that_is_gone_is_said(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        shutil.rmtree(hand.bench.slug)
        with pytest.raises(Unavailable, match="No such file"):
            await hand.start("exit 0")
        assert len(hand.bench.left()) == 1
        await hand.bench.launcher.clean(hand.bench.left()[0])
        assert hand.bench.left() == []

    tell(story)


def test_a_disk_that_is_full_when_its_record_is_kept_does_not_lose_it(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = places.write

    def write(path: Path, value: object) -> None:
        if path.name == "record.json":
            raise OSError(28, "No space left on device")
        real(path, value)

    monkeypatch.setattr(places, "write", write)

    async def story(hand: Hand) -> None:
        spec = await hand.start("echo up; sleep 1000")
        await hand.says(spec, "up")
        await hand.bench.desert()
        hand = Hand(hand.bench)
        assert [each.exit for each in await hand.bench.launcher.adopt()] == [None]
        await hand.bench.launcher.kill(spec.instance)
        assert await hand.end_of(spec) == Exit.of(137)

    tell(story)


@pytest.mark.parametrize("kept", [(), ("identity.json",), ("identity.json", "out")])
def test_a_kill_before_the_launch(tell: Tell, kept: tuple[str, ...]) -> None:
    """What is found is either nobody's and gone, or one that never ran."""

    async def story(hand: Hand) -> None:
        spec = await hand.start("exit 0")
        await hand.end_of(spec)
        for path in place_of(hand, spec).iterdir():
            if path.name not in kept:
                path.unlink()
        await hand.bench.desert()
        found = await hand.bench.launcher.adopt()
        assert [each.exit for each in found] == ([Exit(None, lost=True)] if kept else [])
        if kept:
            await hand.bench.launcher.clean(spec.instance)
        assert hand.bench.left() == []

    tell(story)


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"version": 9}'])
def test_one_that_lost_its_identity_is_ended_and_removed(
    tell: Tell, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(hand: Hand) -> None:
        spec = await hand.start("echo up; sleep 1000")
        await hand.says(spec, "up")
        record = json.loads((place_of(hand, spec) / "record.json").read_text())
        (place_of(hand, spec) / "identity.json").write_text(broken)
        await hand.bench.desert()
        assert await hand.bench.launcher.adopt() == ()
        assert hand.bench.left() == []
        assert not is_alive(record["child_pid"])

    tell(story)
    assert "lost its identity" in caplog.text


def test_a_pid_that_was_given_again_is_not_taken_for_the_dyno(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        spec = await hand.start("exit 0")
        await hand.end_of(spec)
        place = place_of(hand, spec)
        lines = [json.loads(line) for line in (place / "status").read_text().splitlines()]
        whole = {key: value for line in lines for key, value in line.items()}
        del whole["exit-code"]
        # Its pids are now this very process's.
        whole |= {"outer": os.getpid(), "child-pid": os.getpid()}
        (place / "status").write_text(json.dumps(whole) + "\n")
        await hand.bench.desert()
        found = await hand.bench.launcher.adopt()
        assert [each.exit for each in found] == [Exit(None, lost=True)]
        await hand.bench.launcher.kill(spec.instance)
        os.kill(os.getpid(), 0)

    tell(story)


def test_what_is_no_instance_is_left_alone(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        assert isinstance(hand.bench, LocalBench)
        (hand.bench.data / "dynos").mkdir()
        (hand.bench.data / "dynos" / "README").write_text("hello")
        assert await hand.bench.launcher.adopt() == ()
        (hand.bench.data / "dynos" / "README").unlink()

    tell(story)


def test_a_kill_in_the_middle_of_cleaning(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The identity goes last: what is left can be told apart, and goes with the next start."""

    async def story(hand: Hand) -> None:
        spec = await hand.start("exit 0")
        await hand.end_of(spec)
        seen: list[set[str]] = []
        place = place_of(hand, spec)
        real = Path.unlink

        def unlink(path: Path, missing_ok: bool = False) -> None:
            real(path, missing_ok)
            seen.append({each.name for each in place.iterdir()})

        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", unlink)
            await hand.bench.launcher.clean(spec.instance)
        assert all("identity.json" in names for names in seen)
        assert hand.bench.left() == []

    tell(story)


def test_directories_that_an_app_locked_are_removed(tmp_path: Path) -> None:
    place = tmp_path / "instance"
    inner = place / "copy" / "locked" / "inner"
    inner.mkdir(parents=True)
    (inner / "file").write_text("x")
    (place / "identity.json").write_text("{}")
    for directory in (inner, inner.parent):
        directory.chmod(0)
    remove(place)
    assert not place.exists()


def test_the_uid_is_the_app_s(tell: Tell) -> None:
    assert printed(tell, "id -u; exit 0") == f"{UID}\n"


def test_a_word_that_a_kill_kept_back_is_given(tell: Tell) -> None:
    """Control was killed between the intent to begin one that is ready and the word itself."""

    async def story(hand: Hand) -> None:
        spec = hand.spec("echo up; sleep 1000")
        assert await hand.bench.launcher.prepare(spec, hand.bench.launcher.place(spec))
        os.rename(place_of(hand, spec) / ready.WAITS, place_of(hand, spec) / ready.BEGUN)
        await hand.bench.desert()
        hand = Hand(hand.bench)
        (found,) = await hand.bench.launcher.adopt()
        assert (found.spec.instance, found.exit, found.was_ready) == (spec.instance, None, True)
        await hand.says(spec, "up")
        assert not (place_of(hand, spec) / ready.GATE).exists()
        await hand.bench.launcher.terminate(spec.instance)
        assert await hand.end_of(spec) == Exit.of(143)

    tell(story)


def test_one_whose_making_a_kill_cut_short_leaves_nothing(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        left = [hand.spec("echo never") for _ in range(3)]
        for i, spec in enumerate(left):
            place_of(hand, spec).mkdir(parents=True)
            (place_of(hand, spec) / ready.WAITS).touch()
            if i > 0:
                (place_of(hand, spec) / "identity.json").write_text(json.dumps(spec.identity()))
            if i > 1:
                os.mkfifo(place_of(hand, spec) / "out")
                (place_of(hand, spec) / "status").touch()
        await hand.bench.desert()
        assert await hand.bench.launcher.adopt() == ()
        await hand.until(lambda: hand.bench.left() == [], "what waited is cleared away")

    tell(story)


def test_the_address_of_one_that_waits_is_its_own_until_it_is_cleared_away(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        spec = hand.spec("sleep 1000")
        assert await hand.bench.launcher.prepare(spec, at := hand.bench.launcher.place(spec))
        await hand.bench.desert()
        assert isinstance(hand.bench, LocalBench)
        if (network := hand.bench._sandboxes.network) is None:
            pytest.skip("dynos have no addresses of their own here")
        assert await hand.bench.launcher.adopt() == ()
        assert network._given == {at.host: spec.instance}
        await hand.until(lambda: hand.bench.left() == [], "what waited is cleared away")
        await hand.until(lambda: network._given == {}, "its address is given back")

    tell(story)


def test_of_one_that_waits_no_process_and_no_group_is_left(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        grouped_or_not(hand, grouped=True)
        assert isinstance(hand.bench, LocalBench)
        cgroups, launcher = hand.bench._sandboxes.cgroups, hand.bench.launcher
        assert cgroups is not None
        for _ in range(5):
            spec = hand.spec("sleep 1000")
            assert await launcher.prepare(spec, launcher.place(spec))
            assert cgroups.group(spec.instance).is_there
            await launcher.clean(spec.instance)
            assert not cgroups.group(spec.instance).is_there
        assert hand.ends == [], "nobody asks how one ended that was never begun"

    tell(story)


def test_nothing_waits_where_the_slug_itself_would_have_its_code_run(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        profile = hand.bench.slug / ".oriel" / "profile.json"
        profile.parent.mkdir()
        profile.write_text(json.dumps({"env": {"BASH_ENV": "/app/early.sh"}}))
        spec = hand.spec("exit 0")
        launcher = hand.bench.launcher
        assert not await launcher.prepare(spec, launcher.place(spec))
        await launcher.clean(spec.instance)
        profile.write_text(json.dumps({"env": {"RACK_ENV": "production"}}))
        spec = hand.spec("exit 0")
        assert await launcher.prepare(spec, launcher.place(spec))
        await launcher.clean(spec.instance)

    tell(story)


def test_what_waits_has_its_dynos_limits_and_a_program_no_input_of_the_gates(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        spec = hand.spec("cat; readlink /proc/self/fd/0; echo $DYNO; hostname; ulimit -u; exit 0")
        assert await hand.bench.launcher.prepare(spec, hand.bench.launcher.place(spec))
        assert hand.bench.launcher.begin(spec.instance)
        await hand.end_of(spec)
        said = hand.bench.said(spec.instance).split()
        assert said == ["/dev/null", "worker.1", "worker-1", "256"]

    tell(story)
