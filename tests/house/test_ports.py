"""Where Oriel may listen: free ports, twins, and ports below 1024 as an ordinary user."""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from oriel import faults
from oriel.house import ports
from oriel.house.ports import Means
from oriel.lexicon import Address
from oriel.router.haproxy import program

ROOT = Path(__file__).parents[2]
HAPROXY = "/usr/sbin/haproxy"
BARE = Means(unit=False, sysctl=False, setcap="", haproxy=HAPROXY)
ALL = Means(unit=False, sysctl=True, setcap="/sbin/setcap", haproxy=HAPROXY)
UNIT = Means(unit=True, sysctl=True, setcap="/sbin/setcap", haproxy=HAPROXY)
WEB = Address("0.0.0.0", 80)


@pytest.mark.parametrize(
    ("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)]
)
def test_a_port_in_use_names_another(host: str, family: socket.AddressFamily) -> None:
    with socket.socket(family) as taken:
        try:
            taken.bind((host, 0))
        except OSError:
            pytest.skip("no IPv6 here")
        taken.listen()
        address = Address(host, taken.getsockname()[1])
        with pytest.raises(faults.Conflict, match="in use") as refused:
            ports.refuse_used(address, "--web", BARE)
    assert f"oriel up --web {Address(host, address.port + 1)}" in refused.value.hint
    ports.refuse_used(address, "--web", BARE)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(faults.Invalid) as refused:
        ports.refuse_used(Address(host, 5050), "--api", BARE)
    assert "--api" in refused.value.message
    assert "oriel up --api" in refused.value.hint


@pytest.mark.parametrize(
    ("flag", "has", "said", "unsaid"),
    [
        ("--web", UNIT, "AmbientCapabilities=CAP_NET_BIND_SERVICE", "setcap"),
        ("--web", ALL, "'net.ipv4.ip_unprivileged_port_start = 80' | sudo tee", "Ambient"),
        ("--web", ALL, "sudo /sbin/setcap cap_net_bind_service=+ep /usr/sbin/haproxy", "Ambient"),
        ("--web", ALL, "; or: sudo /sbin/setcap", "Ambient"),
        ("--api", ALL, "ip_unprivileged_port_start", "setcap"),
        ("--web-tls", BARE, "Choose a port above 1023: oriel up --web-tls 0.0.0.0:8000", "sudo"),
    ],
)
def test_advice_is_what_the_machine_has(flag: str, has: Means, said: str, unsaid: str) -> None:
    advice = ports.advice(WEB, flag, has)
    assert said in advice
    assert unsaid not in advice
    assert "above 1023" in advice


def test_one_line_does_for_both_of_the_webs_ports() -> None:
    advice = [
        ports.advice(Address("0.0.0.0", port), flag, ALL)
        for port, flag in ((80, "--web"), (443, "--web-tls"))
    ]
    for each in advice:
        assert "'net.ipv4.ip_unprivileged_port_start = 80'" in each
    assert "_start = 22'" in ports.advice(Address("0.0.0.0", 22), "--api", ALL)


@pytest.mark.parametrize(
    ("one", "other", "twins"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("0.0.0.0:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "[::]:80", True),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        ("127.0.0.1:80", "127.0.0.2:80", False),
    ],
)
def test_two_flags_with_one_port_are_refused(one: str, other: str, twins: bool) -> None:
    places = [(flag, _address(text)) for flag, text in (("--web", one), ("--web-tls", other))]
    if not twins:
        ports.refuse_twins(places)
        return
    with pytest.raises(faults.Invalid, match="are the same port") as refused:
        ports.refuse_twins(places)
    assert f"--web {one} --web-tls" in refused.value.hint
    assert ":81" in refused.value.hint


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return Address(host.strip("[]"), int(port))


@pytest.mark.parametrize(
    ("kept", "may"),
    [
        (struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0), True),
        (struct.pack("<IIIII", 0x02000000, 1 << 10, 0, 0, 0), False),
        (struct.pack("<IIIII", 0x02000001, 1 << 11, 0, 0, 0), False),
        (b"\x01", False),
        (None, False),
    ],
)
def test_a_files_capability_is_read(
    kept: bytes | None, may: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getxattr(path: str, name: str) -> bytes:
        if kept is None:
            raise OSError(61, "No data available")
        return kept

    monkeypatch.setattr(os, "getxattr", getxattr)
    assert ports.file_may(HAPROXY) is may


# What an ordinary user's `oriel up` does about a low port: look, start HAProxy, reload it; and
# whether a sandbox can still be made.
SCRIPT = """
import asyncio, http.client, json, os, shutil, sys
from pathlib import Path
from oriel import faults
from oriel.clock import SystemClock
from oriel.house import ports
from oriel.house.child import Child, Program
from oriel.house.layout import Layout
from oriel.lexicon import Address
from oriel.router import Listen, RouteTable, Router
from oriel.sandbox import capabilities

def status(port):
    visit = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    visit.request("GET", "/", headers={"Host": "nobody.localhost"})
    return visit.getresponse().status

async def main(data, haproxy):
    ports.keep_to_ourselves()
    has = ports.means({}, os.path.dirname(haproxy) + ":" + os.environ["PATH"])
    try:
        ports.refuse_used(Address("127.0.0.1", 80), "--web", has)
    except faults.Fault as fault:
        return {"refused": fault.message, "hint": fault.hint}
    layout = Layout(data)
    for each in (layout.run, layout.logs, layout.haproxy_config.parent):
        each.mkdir(parents=True)
    clock = SystemClock()
    router = Router(
        directory=layout.haproxy_config.parent, runtime_socket=layout.run / "haproxy.sock",
        master_socket=layout.haproxy_master_socket, web=Listen("127.0.0.1", 80), log_port=5140,
        clock=clock,
    )
    await router.start(RouteTable())
    argv = (haproxy, "-W", "-S", f"{layout.haproxy_master_socket},mode,600",
            "-f", str(layout.haproxy_config))
    child = Child(Program("haproxy", argv, os.environ, low_ports=True), layout, clock, print)
    child.start()
    seen = []
    try:
        for _ in range(2):
            before = router.status().pid
            async with asyncio.timeout(20):
                while router.status().pid in (None, before):
                    await asyncio.sleep(0.02)
            seen.append(await asyncio.to_thread(status, 80))
            if len(seen) == 1:
                await router._haproxy.reload()
    finally:
        await router.close()
        child._popen.terminate()
        child._popen.wait(10)
    return {"seen": seen, "sandboxes": capabilities.look().user_namespaces}

print(json.dumps(asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))))
"""
AMBIENT = "--inh-caps +net_bind_service --ambient-caps +net_bind_service"
SYSCTL = "echo 80 > /proc/sys/net/ipv4/ip_unprivileged_port_start"


@pytest.fixture
def home() -> Iterator[Path]:
    """A short place that a fresh user may use, with an HAProxy whose file can be given rights."""
    made = Path(tempfile.mkdtemp(prefix="op-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.mark.real
@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a network with a sysctl of its own")
@pytest.mark.parametrize("way", ["sysctl", "ambient", "file", "none"])
def test_haproxy_listens_at_port_80_as_an_ordinary_user(way: str, home: Path) -> None:
    uid = 400_000 + os.getpid() % 100_000
    haproxy = home / "haproxy"
    shutil.copy(program(), haproxy)
    haproxy.chmod(0o755)
    data = home / "data"
    data.mkdir(mode=0o700)
    os.chown(data, uid, uid)
    if way == "file":
        given = ["setcap", "cap_net_bind_service=+ep", str(haproxy)]
        if shutil.which("setcap") is None or subprocess.run(given).returncode != 0:
            pytest.skip("no capabilities of files here")
    become = f"ip link set lo up && {SYSCTL if way == 'sysctl' else 'true'} && exec setpriv "
    become += f"--reuid {uid} --regid {uid} --clear-groups {AMBIENT if way == 'ambient' else ''} "
    words = [sys.executable, "-c", SCRIPT, str(data), str(haproxy)]
    done = subprocess.run(
        ["unshare", "--net", "--mount-proc", "--fork", "--pid", "--kill-child"]
        + ["sh", "-c", become + '-- "$@"', "sh", *words],
        cwd=ROOT,
        env={"PATH": f"{os.defpath}:/usr/sbin:/sbin", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=90,
    )
    if done.returncode != 0 and "Permission denied" in done.stderr and "oriel" not in done.stderr:
        pytest.skip("this clone and its Python are not another user's to read")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    if way == "none":
        assert said["refused"] == "Only root may listen on port 80 of this machine."
        assert "oriel up --web 127.0.0.1:8000" in said["hint"]
        return
    assert said == {"seen": [404, 404], "sandboxes": True}
