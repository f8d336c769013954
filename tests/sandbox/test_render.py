"""A confinement as bubblewrap's arguments, as text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.sandbox import Bind, Confinement, Overlay
from oriel.sandbox.render import Ground, Plan, Staging, render
from oriel.sandbox.system import System

SYSTEM = System(
    shown=("/usr", "/etc/hosts", "/etc/resolv.conf"),
    copied=("/etc/timezone",),
    links=(("usr/bin", "/bin"),),
)

WEB = Confinement(
    argv=("/bin/bash", "-c", "run"),
    env={"PORT": "20001", "HOME": "/app"},
    uid=200001,
    overlay=Overlay(Path("/data/slugs/a/b"), size_bytes=1000),
    binds=(Bind(Path("/data/cache"), "/cache", writable=True), Bind(Path("/data/in"), "/in")),
    hostname="web-1",
    tmp_bytes=500,
    shm_bytes=400,
    open_files=99,
    processes=64,
)

GOLDEN = """\
--unshare-user
--unshare-pid
--unshare-ipc
--unshare-uts
--unshare-cgroup-try
--disable-userns
--new-session
--hostname web-1
--perms 0755
--dir /etc
--perms 0755
--dir /etc/ssl
--ro-bind /usr /usr
--ro-bind /etc/hosts /etc/hosts
--ro-bind /etc/resolv.conf /etc/resolv.conf
--symlink usr/bin /bin
--perms 0444
--file 7 /etc/passwd
--perms 0444
--file 8 /etc/group
--perms 0444
--file 9 /etc/hostname
--perms 0444
--file 10 /etc/timezone
--proc /proc
--dev /dev
--ro-bind /dev/null /proc/1/mem
--ro-bind /dev/null /proc/1/task/1/mem
--perms 1777
--size 400
--tmpfs /dev/shm
--remount-ro /dev
--perms 1777
--size 500
--tmpfs /tmp
--dir /var
--symlink /tmp /var/tmp
--dir /run
--bind /mnt/app /app
--bind /mnt/b0 /cache
--ro-bind /mnt/b1 /in
--remount-ro /
--chdir /app
--json-status-fd 4
--info-fd 5
--block-fd 6
--clearenv
--setenv PORT 20001
--setenv HOME /app"""


def plan(what: Confinement, staging: Staging = "root") -> Plan:
    return render(what, SYSTEM, staging, overlays=True, copy_to="/data/dynos/i/copy")


def as_text(arguments: tuple[str, ...]) -> str:
    return " ".join(arguments).replace(" --", "\n--")


def test_a_dyno_as_root_in_full() -> None:
    made = plan(WEB)
    assert as_text(made.arguments) == GOLDEN
    assert made.command == ("/usr/bin/prlimit", "--nproc=64", "--", "/bin/bash", "-c", "run")
    assert (made.uid, made.lower, made.lower_bytes, made.open_files) == (
        200001,
        "/data/slugs/a/b",
        1000,
        99,
    )
    assert made.binds == ("/data/cache", "/data/in")
    assert made.copies == ((10, "/etc/timezone"),)
    assert made.files[0] == (
        7,
        "root:x:0:0:root:/root:/bin/sh\napp:x:200001:200001:app:/app:/bin/bash\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    )


@pytest.mark.parametrize(
    ("staging", "app", "cache", "uid"),
    [
        ("root", "--bind /mnt/app /app", "--bind /mnt/b0 /cache", 200001),
        ("userns", "--bind /mnt/app /app", "--bind /mnt/b0 /cache", None),
        ("none", "--bind /data/dynos/i/copy /app", "--bind /data/cache /cache", None),
    ],
)
def test_who_may_mount_decides_where_sources_are_named(
    staging: Staging, app: str, cache: str, uid: int | None
) -> None:
    made = plan(WEB, staging)
    lines = as_text(made.arguments).splitlines()
    assert app in lines
    assert cache in lines
    assert made.uid == uid


def test_without_a_lower_app_is_an_empty_bounded_directory() -> None:
    made = plan(Confinement(("x",), {}, 7, overlay=Overlay(None, "/build", 900), cwd="/build"))
    assert "--perms 0755\n--size 900\n--tmpfs /build" in as_text(made.arguments)
    assert made.lower is None


def test_no_network_is_a_namespace_of_its_own() -> None:
    assert "--unshare-net" not in plan(WEB).arguments
    assert "--unshare-net" in plan(Confinement(("x",), {}, 7, network="none")).arguments


def test_a_network_of_its_own_has_its_own_name_servers() -> None:
    wires = {"device": "or001-002"}
    ground = Ground(wires=wires, resolv="nameserver 192.0.2.1\n", seccomp="00")
    made = render(WEB, SYSTEM, "root", overlays=True, copy_to="/copy", ground=ground)
    assert made.wires == wires
    assert made.files[-1] == (10, "nameserver 192.0.2.1\n")
    text = as_text(made.arguments)
    assert "--file 10 /etc/resolv.conf" in text
    assert "--ro-bind /etc/resolv.conf" not in text
    assert "--seccomp 12" in text
    assert (
        render(
            Confinement(("x",), {}, 7, network="none"),
            SYSTEM,
            "root",
            overlays=True,
            copy_to="",
            ground=ground,
        ).wires
        is None
    )


def test_without_isolation_it_sees_the_machine() -> None:
    ground = Ground(isolated=False, top=("app", "etc", "home", "mnt", "proc", "usr"))
    text = as_text(render(WEB, SYSTEM, "root", overlays=True, copy_to="", ground=ground).arguments)
    for place in ("/etc", "/home", "/usr"):
        assert f"--bind {place} {place}" in text.splitlines()
    assert "--bind /mnt /mnt" not in text
    assert "/etc/passwd" not in text
    assert "--bind /mnt/app /app" in text.splitlines()


def test_the_root_is_remounted_after_everything_that_is_put_into_it() -> None:
    words = plan(WEB).arguments
    puts = ("--bind", "--ro-bind", "--tmpfs", "--dir", "--symlink", "--file")
    last_put = max(i for i, word in enumerate(words) if word in puts)
    assert [i for i, word in enumerate(words) if word == "--remount-ro"][-1] > last_put
    assert "--die-with-parent" not in words


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@given(st.dictionaries(TEXT.filter(lambda key: key and "=" not in key), TEXT, max_size=5))
def test_any_environment_stays_behind_its_flag(env: dict[str, str]) -> None:
    words = plan(Confinement(("x",), env, 7)).arguments
    given_env = words[words.index("--clearenv") + 1 :]
    assert given_env == tuple(w for key, value in env.items() for w in ("--setenv", key, value))
    assert plan(Confinement(("x",), env, 7)).files[0][1].count("\n") == 3
