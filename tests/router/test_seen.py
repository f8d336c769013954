"""HAProxy's answers, as 2.6 gives them and as anything else might."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oriel.router import seen
from oriel.router.places import Stamp
from oriel.router.seen import Process, SeenServer

INFO = """Name: HAProxy
Version: 2.6.12-1+deb12u4
Pid: 16742
Uptime_sec: 0
node: vm
description: oriel-router v5 layout=7dbea8ddb4128357 slots=20
DroppedLogs: 0

"""
MAPS = """# id (file) description
0 (/d/before.8ddf5b014df8a90c.map) pattern loaded from file '/d/before.8ddf5b014df8a90c.map'
4 (/d/(x)/hosts.7ddcffe865a087fc.map) pattern loaded from file
14 (/d/hosts.7ddcffe865a087fc.map) pattern loaded from file '/d/hosts.7ddcffe865a087fc.map' used
5 (/d/apps.119592214dc92076.map) pattern loaded from file '/d/apps.119592214dc92076.map' used by

"""
SERVERS = """1
# be_id be_name srv_name srv_addr srv_op_state srv_admin_state srv_time_since_last_change srv_port
4 slot-0000 web.1:abcdef00 127.0.0.1 2 0 17 39100
5 slot-0001 web.1:abcdef00 ::1 0 1 700 39101
6 other web.1:abcdef00 ::1 0 1 700 39101
7 slot-0002 web.1:abcdef00 ::1 0 what 700 39101
8 slot-0003 short

"""


def test_who_it_is() -> None:
    assert seen.read_process(INFO) == Process(16742, Stamp("7dbea8ddb4128357", 20))
    assert seen.read_process("Pid: 1\n") == Process(1, None)
    assert seen.read_process("Unknown command") is None


def test_its_maps() -> None:
    assert seen.read_map_ids(MAPS) == {"hosts": "#14", "apps": "#5"}
    text = "0x55 foo.localhost id-1\n0x56 bar.localhost a b\n0x57 foo.localhost id-2\n\nnonsense\n"
    assert seen.read_map(text) == {"foo.localhost": None, "bar.localhost": "a b"}


def test_its_servers() -> None:
    assert seen.read_servers(SERVERS) == (
        SeenServer(0, "web.1:abcdef00", "127.0.0.1", 39100, True, False, 17),
        SeenServer(1, "web.1:abcdef00", "::1", 39101, False, True, 700),
    )


@given(st.text() | st.text("0123456789x# ()/.\nslot-_maphosts"), st.integers(0, 400))
def test_whatever_it_says_is_read(text: str, cut: int) -> None:
    for said in (text, INFO[:cut] + text, SERVERS[:cut] + text, MAPS[:cut] + text):
        seen.read_process(said)
        seen.read_map_ids(said)
        seen.read_map(said)
        seen.read_servers(said)
