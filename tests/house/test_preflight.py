"""What `oriel up` refuses before it starts anything: one sentence, and what to type."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from oriel import faults
from oriel.house import preflight
from oriel.house.control import loopback_ports
from oriel.house.layout import Layout
from oriel.sandbox import Capabilities


def test_a_new_data_directory_is_private(short_path: Path) -> None:
    layout = preflight.make_data_directory(short_path / "a" / "b")
    assert preflight.is_private(layout.data)
    assert layout.run.is_dir()
    assert preflight.make_data_directory(layout.data) == layout


def test_a_directory_of_something_else_is_left_alone(short_path: Path) -> None:
    short_path.chmod(0o755)
    (short_path / "photo.jpg").touch()
    with pytest.raises(faults.Invalid, match="not Oriel's"):
        preflight.make_data_directory(short_path)
    assert short_path.stat().st_mode & 0o777 == 0o755


def test_a_path_too_long_for_sockets_is_refused(short_path: Path) -> None:
    with pytest.raises(faults.Invalid, match="too long"):
        preflight.make_data_directory(short_path / ("x" * 80))


def test_a_file_in_the_way_is_refused(short_path: Path) -> None:
    (short_path / "file").touch()
    with pytest.raises(faults.Unavailable, match="cannot be used"):
        preflight.make_data_directory(short_path / "file" / "data")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's directory")
def test_another_users_directory_is_refused(short_path: Path) -> None:
    other = short_path / "theirs"
    other.mkdir()
    os.chown(other, 12345, 12345)
    with pytest.raises(faults.Forbidden, match="belongs to user 12345"):
        preflight.make_data_directory(other)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_where_one_may_not_write_is_refused(short_path: Path) -> None:
    short_path.chmod(0o500)
    with pytest.raises(faults.Unavailable, match="Permission denied"):
        preflight.make_data_directory(short_path / "data")
    short_path.chmod(0o700)


def test_the_lock_is_for_one(short_path: Path) -> None:
    layout = preflight.make_data_directory(short_path / "data")
    lock = preflight.take_lock(layout)
    with pytest.raises(faults.Conflict, match=f"process {os.getpid()}"):
        preflight.take_lock(layout)
    os.close(lock)
    os.close(preflight.take_lock(layout))


def test_a_lock_left_by_a_dead_process_is_free(short_path: Path) -> None:
    layout = preflight.make_data_directory(short_path / "data")
    layout.lock.write_text("4194999\n")
    os.close(preflight.take_lock(layout))


@pytest.mark.parametrize(
    ("root", "typed"), [(True, "Type: apt-get"), (False, "Type: sudo apt-get")]
)
def test_missing_programs_are_named_with_their_packages(
    tmp_path: Path, root: bool, typed: str
) -> None:
    (tmp_path / "git").touch(mode=0o755)
    with pytest.raises(faults.Unavailable) as refused:
        preflight.refuse_without_programs(str(tmp_path), root=root)
    assert refused.value.message == "Not installed, but needed: bubblewrap, haproxy."
    assert refused.value.hint == f"{typed} install bubblewrap haproxy"


def test_the_search_path_has_sbin_behind_what_was_given() -> None:
    found = preflight.search_path("/home/ned/bin:/usr/bin:").split(":")
    assert found[:2] == ["/home/ned/bin", "/usr/bin"]
    assert "/usr/sbin" in found
    assert found.count("/usr/bin") == 1


def test_a_certificate_that_cannot_be_read_is_named(short_path: Path) -> None:
    from oriel.house import settings

    chosen = settings.settle(
        settings.Flags(tls_cert=str(short_path / "c"), tls_key=str(short_path / "k")),
        None,
        short_path,
    )
    with pytest.raises(faults.Invalid, match="--tls-cert"):
        preflight.refuse_missing_files(chosen)


def test_sockets_of_usual_places_fit() -> None:
    for place in ("/var/lib/oriel", "/home/somebody-with-a-long-name/.local/share/oriel"):
        assert Layout(Path(place)).sockets_fit()


ALL = Capabilities(True, True, "root", True, "/usr/bin/bwrap", (), True, True, "")


def test_weaker_grounds_are_said_one_by_one() -> None:
    mine = () if os.geteuid() == 0 else (preflight.SAME_USER,)
    assert preflight.weaker_grounds(ALL, "bubblewrap") == mine
    shared = replace(ALL, network=False, network_why="nftables is not installed")
    (said,) = set(preflight.weaker_grounds(shared, "bubblewrap")) - set(mine)
    assert "network (nftables is not installed)" in said
    unlimited = replace(ALL, cgroups=False)
    assert preflight.NO_LIMITS in preflight.weaker_grounds(unlimited, "bubblewrap")
    assert preflight.weaker_grounds(ALL, "none")[0].startswith("WARNING: --isolation none")


@pytest.mark.parametrize(
    ("values", "ports"),
    [
        (["http://127.0.0.1:3128"], (3128,)),
        (["http://user:pass@localhost:3141/index/+simple/"], (3141,)),
        (["https://[::1]/simple http://127.0.0.1:8081/x", "localhost:3128"], (443, 3128, 8081)),
        (["http://proxy.example.com:3128", "", "/wheels", "http://127.0.0.1:99999"], ()),
        (["http://127.0.0.1.example.com:80/"], ()),
    ],
)
def test_builds_reach_the_ports_of_loopback_that_were_named(
    values: list[str], ports: tuple[int, ...]
) -> None:
    assert loopback_ports(values) == ports
