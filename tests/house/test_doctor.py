"""What `oriel doctor` makes of a machine: a table of machines and what it says of them."""

import json
import socket
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from oriel.clock import SystemClock
from oriel.house import doctor, edge_probes, probes
from oriel.house.commands import doctor as command
from oriel.house.edge_probes import Lines, Port, Shown
from oriel.house.findings import Finding
from oriel.house.probes import Machine
from oriel.lexicon import Address
from tests.certificates.making import pair

GIB = 1024**3
API = Address("127.0.0.1", 5050)

WELL = Machine(
    root=True,
    kernel="6.1.0-18-amd64",
    filesystems=frozenset({"overlay", "ext4"}),
    pidfd=True,
    sysctls={"user/max_user_namespaces": 60000},
    user_namespaces=True,
    overlay=True,
    staging="root",
    sandbox_why=(),
    programs={"bwrap": "0.8.0", "haproxy": "2.6.12", "git": "2.39.5"},
    interpreters=("python3.11",),
    data=Path("/var/lib/oriel"),
    data_problem="",
    disk_free_bytes=50 * GIB,
    disk_free_inodes=1_000_000,
    disk_type="ext4",
    files_soft=1024,
    files_hard=1_048_576,
    clock_year=2026,
    clock_synchronised=True,
    cgroups="v2",
    cgroup_writable=True,
    network=True,
    network_why="",
    isolation="bubblewrap",
    docker=False,
    forward_policy=None,
    ports=(Port("--api", API),),
)
LOST = Lines({"a": 0, "b": 3})
UNREAD = Lines({"a": 0}, {"bad heads": 4, "too slow": 0}, "noon from ::1")
FAR = (Shown("x", 20.9), Shown("y", 90.0))
NEAR, OVER, ODD = Shown("a.x", 13.9), Shown("b.x", -0.1), Shown("c.x", None)
TWINS = (Port("--api", API), Port("--web-tls", API))
PLAIN_USER = replace(WELL, root=False, staging="userns")
NO_SANDBOX = replace(WELL, user_namespaces=False, sandbox_why=("bubblewrap failed.",))

APPARMOR = {"kernel/apparmor_restrict_unprivileged_userns": 1}
DEBIAN = {"kernel/unprivileged_userns_clone": 0}
NONE_LEFT = {"user/max_user_namespaces": 0}

TABLE = [
    (WELL, "kernel", "ok", "6.1.0-18-amd64", ""),
    (replace(WELL, kernel="5.4.0"), "kernel", "fail", "5.4.0 lacks", "dist-upgrade"),
    (replace(WELL, pidfd=False), "kernel", "fail", "lacks", "dist-upgrade"),
    (
        replace(WELL, overlay=False, filesystems=frozenset()),
        "kernel",
        "warn",
        "not loaded",
        "modprobe",
    ),
    (
        replace(WELL, programs={**WELL.programs, "bwrap": None}),
        "bubblewrap",
        "fail",
        "not installed",
        "Type: apt-get install bubblewrap",
    ),
    (
        replace(PLAIN_USER, programs={**WELL.programs, "haproxy": None}),
        "haproxy",
        "fail",
        "not installed",
        "Type: sudo apt-get install haproxy",
    ),
    (
        replace(WELL, programs={**WELL.programs, "bwrap": "0.4.1"}),
        "bubblewrap",
        "fail",
        "0.4.1 is too old; 0.8",
        "apt-get",
    ),
    (
        replace(WELL, programs={**WELL.programs, "haproxy": "2.4.24"}),
        "haproxy",
        "fail",
        "2.4.24 is too old; 2.6.5 is needed.",
        "Debian 12",
    ),
    (replace(WELL, programs={**WELL.programs, "haproxy": "2.6.4"}), "haproxy", "fail", "old", "D"),
    (replace(WELL, programs={**WELL.programs, "haproxy": "2.6.5"}), "haproxy", "ok", "2.6.5", ""),
    (replace(WELL, programs={**WELL.programs, "haproxy": "2.8"}), "haproxy", "ok", "2.8", ""),
    (
        replace(WELL, programs={**WELL.programs, "git": ""}),
        "git",
        "warn",
        "does not tell",
        "apt-get",
    ),
    (replace(WELL, interpreters=()), "python", "warn", "no Python", "apt-get install python3"),
    (WELL, "python", "ok", "apps can have python3.11", ""),
    (WELL, "user namespaces", "ok", "can be made", ""),
    (
        replace(NO_SANDBOX, sysctls=APPARMOR),
        "user namespaces",
        "fail",
        "AppArmor forbids",
        "kernel.apparmor_restrict_unprivileged_userns = 0",
    ),
    (
        replace(NO_SANDBOX, sysctls=DEBIAN),
        "user namespaces",
        "fail",
        "kernel.unprivileged_userns_clone = 0",
        "kernel.unprivileged_userns_clone = 1",
    ),
    (
        replace(NO_SANDBOX, sysctls=NONE_LEFT, root=False),
        "user namespaces",
        "fail",
        "user.max_user_namespaces = 0",
        "sudo tee /etc/sysctl.d/60-oriel.conf",
    ),
    (NO_SANDBOX, "user namespaces", "fail", "bubblewrap failed.", "--cap-add SYS_ADMIN"),
    (
        replace(NO_SANDBOX, programs={**WELL.programs, "bwrap": None}),
        "user namespaces",
        "fail",
        "bubblewrap is missing",
        "apt-get install bubblewrap",
    ),
    (WELL, "isolation", "ok", "user of its own", ""),
    (PLAIN_USER, "isolation", "warn", "run as your user", "sudo oriel up"),
    (replace(WELL, staging="none"), "isolation", "fail", "root may not mount", "CAP_SYS_ADMIN"),
    (replace(WELL, overlay=False), "overlay", "warn", "gets a copy", "modprobe overlay"),
    (replace(WELL, cgroups=""), "cgroups", "warn", "no cgroups", "mount | grep cgroup"),
    (replace(WELL, cgroup_writable=False), "cgroups", "warn", "not writable", "Delegate=yes"),
    (WELL, "network", "ok", "network of its own", ""),
    (
        replace(WELL, network=False, network_why="nftables is not installed"),
        "network",
        "warn",
        "share this machine's network (nftables is not installed)",
        "apt-get install nftables",
    ),
    (PLAIN_USER, "network", "ok", "Each user of this machine reaches a dyno's port.", ""),
    (
        replace(PLAIN_USER, network=False, network_why="pasta is not installed"),
        "network",
        "warn",
        "share this machine's network (pasta is not installed)",
        "sudo apt-get install passt",
    ),
    (
        replace(PLAIN_USER, network=False, network_why="/dev/net/tun may not be opened"),
        "network",
        "warn",
        "share this machine's network",
        "sudo chmod 666 /dev/net/tun",
    ),
    (
        replace(PLAIN_USER, network=False, network_why="only root can"),
        "network",
        "warn",
        "share this machine's network",
        "sudo oriel up",
    ),
    (
        replace(WELL, network=False, network_why="Operation not permitted"),
        "network",
        "warn",
        "not permitted",
        "CAP_NET_ADMIN",
    ),
    (replace(WELL, isolation="none"), "isolation", "warn", "--isolation none", "bubblewrap"),
    (replace(WELL, data_problem="/x is odd"), "data directory", "fail", "/x is odd.", "--data"),
    (replace(WELL, disk_type="tmpfs"), "data directory", "warn", "in memory", "--data DIR"),
    (replace(WELL, disk_type="nfs4"), "data directory", "warn", "another machine", "--data DIR"),
    (replace(WELL, disk_free_bytes=GIB), "disk", "warn", "Only 1.0 GiB", "du -xh"),
    (replace(WELL, disk_free_bytes=1000), "disk", "fail", "Only 0.0 GiB", "du -xh"),
    (replace(WELL, disk_free_inodes=10), "disk", "warn", "only 10 files", "Make room"),
    (replace(WELL, disk_free_bytes=None), "disk", "warn", "not known", "df -h"),
    (replace(WELL, files_hard=512), "open files", "fail", "Only 512", "ulimit -Hn"),
    (replace(WELL, files_hard=4096), "open files", "warn", "4096", "LimitNOFILE"),
    (replace(WELL, files_hard=-1), "open files", "ok", "No limit", ""),
    (replace(WELL, clock_year=1970), "clock", "fail", "1970", "timedatectl"),
    (replace(WELL, clock_synchronised=False), "clock", "warn", "keeps the clock", "timedatectl"),
    (replace(WELL, clock_synchronised=None), "clock", "ok", "not known", ""),
    (WELL, "port 5050", "ok", "127.0.0.1:5050 is free", ""),
    (
        replace(WELL, ports=(Port("--api", API, problem="In use.", hint="Type x."),)),
        "port 5050",
        "fail",
        "In use.",
        "Type x.",
    ),
    (replace(WELL, ports=(Port("--api", API, ours=True),)), "port 5050", "ok", "own", ""),
    (replace(WELL, haproxy_lua=False), "waiting", "warn", "without Lua", "apt-get install"),
    (replace(WELL, haproxy_user=False), "haproxy's user", "warn", "stays root", "useradd"),
    (replace(WELL, ports=TWINS), "ports", "fail", "same port", "--web-tls 127.0.0.1:5051"),
    (replace(WELL, router_refused="bad\nmore"), "router", "fail", "before serves: bad.", "refused"),
    (replace(WELL, router_lines=LOST), "router lines", "warn", "start: 3 by b.", "rmem"),
    (replace(WELL, router_lines=Lines({"a": 0})), "router lines", "ok", "No line", ""),
    (replace(WELL, router_lines=UNREAD), "requests", "ok", "4 bad heads since the start; the", ""),
    (replace(WELL, router_lines=UNREAD), "requests", "ok", "bad one at noon from ::1.", ""),
    (replace(WELL, certificates=FAR), "certificates", "ok", "2 shown; the first ends in 20", ""),
    (
        replace(WELL, certificates=(*FAR, NEAR)),
        "certificates",
        "warn",
        "a.x in 13 days.",
        "certs:up",
    ),
    (
        replace(WELL, certificates=(OVER, NEAR, *[NEAR] * 4)),
        "certificates",
        "fail",
        "b.x has ended; a.x in 13 days; a.x in 13 days, and 3 more.",
        "certs:auto",
    ),
    (replace(WELL, certificates=(*FAR, ODD)), "certificates", "warn", "the one for c.x.", "up"),
    (replace(WELL, forward_policy="DROP"), "forwarding", "warn", "drops", "iptables -I FORWARD"),
    (replace(WELL, docker=True), "forwarding", "warn", "Docker", "iptables -S FORWARD"),
]


@pytest.mark.parametrize(("machine", "name", "state", "said", "fix"), TABLE)
def test_findings(machine: Machine, name: str, state: str, said: str, fix: str) -> None:
    (finding,) = [each for each in doctor.judge(machine) if each.name == name]
    assert finding.state == state
    assert said in finding.said
    assert fix in finding.fix if fix else not finding.fix


def test_whatever_is_not_well_says_what_to_type() -> None:
    for machine, *_ in TABLE:
        for finding in doctor.judge(machine):
            assert bool(finding.fix) == (finding.state != "ok")
            assert finding.said.endswith(".")


def test_no_docker_says_nothing_of_it() -> None:
    assert "forwarding" not in [finding.name for finding in doctor.judge(WELL)]
    ruled = doctor.judge(replace(WELL, docker=True, forward_policy="ACCEPT"))
    assert "forwarding" not in [finding.name for finding in ruled]


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("bubblewrap 0.8.0\n", "0.8.0"),
        ("HAProxy version 2.6.12-1+deb12u1 2023/12/16 - https://x", "2.6.12"),
        ("git version 2.39.5", "2.39.5"),
        ("nonsense", ""),
    ],
)
def test_versions(said: str, version: str) -> None:
    assert probes.parse_version(said) == version


def test_the_file_system_of_a_path() -> None:
    mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\nx /tmp/with\\040space nfs4 rw 0 0\nbad"
    assert probes.parse_mounts(mounts, "/var/lib") == "ext4"
    assert probes.parse_mounts(mounts, "/tmp/x") == "tmpfs"
    assert probes.parse_mounts(mounts, "/tmpfoo") == "ext4"
    assert probes.parse_mounts(mounts, "/tmp/with space/y") == "nfs4"
    assert probes.parse_mounts("", "/") == ""


@pytest.mark.real
def test_it_looks_at_this_machine(short_path: Path) -> None:
    places = (("--api", API), ("--web", Address("127.0.0.1", 8080)))
    machine = probes.look(short_path / "data", places, SystemClock(), {"PATH": "/usr/bin"})
    assert machine.pidfd
    assert machine.haproxy_lua is True
    assert edge_probes.has_lua("/nowhere") is None
    assert all(isinstance(finding, Finding) for finding in doctor.judge(machine))


def test_certificates_are_read_from_what_haproxy_starts_from(tmp_path: Path) -> None:
    now = SystemClock().wall()
    router = tmp_path / "router"
    router.mkdir()
    chain, key = pair(now, "a.example.com", ends=timedelta(days=10))
    (router / "cert.1.pem").write_text(key + chain)
    (router / "cert.2.pem").write_text("nonsense")
    (router / "certs.0.list").write_text(
        f"{router}/fallback.0.pem apps.x\n"
        f"{router}/cert.1.pem a.example.com *.b.x\n"
        f"{router}/cert.2.pem c.x\n"
    )
    (router / "haproxy.cfg").write_text(
        f"  bind :443 ssl crt {router}/fallback.0.pem crt-list {router}/certs.0.list alpn h2\n"
    )
    (tmp_path / "api.pem").write_text(chain)
    api, first, second = edge_probes.shown(tmp_path, now, str(tmp_path / "api.pem"))
    assert api.to == f"the API ({tmp_path}/api.pem)"
    assert (first.to, second) == ("a.example.com, *.b.x", Shown("c.x", None))
    assert api.days_left == first.days_left
    assert 9.9 < (first.days_left or 0) <= 10
    assert edge_probes.shown(tmp_path / "nowhere", now, None) == ()


@pytest.mark.real
def test_it_tries_where_the_flags_say(short_path: Path) -> None:
    def findings(*flags: str) -> dict[str, str]:
        done = CliRunner().invoke(
            command, ["--data", str(short_path / "data"), "--json", *flags], catch_exceptions=False
        )
        return {row["name"]: row["state"] for row in json.loads(done.stdout)}

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = findings("--web-tls", f"127.0.0.1:{port}", "--rendezvous", "127.0.0.1:0")
        assert found[f"port {port}"] == "fail"
        assert {name for name in found if name.startswith("port ")} == {
            "port 5050",
            "port 8080",
            f"port {port}",
        }
        found = findings("--web", f"127.0.0.1:{port}", "--web-tls", "")
        assert found[f"port {port}"] == "fail"
        assert "port 8080" not in found


@pytest.mark.real
def test_json_has_a_row_for_each_finding(short_path: Path) -> None:
    done = CliRunner().invoke(command, ["--data", str(short_path / "data"), "--json"])
    rows = json.loads(done.stdout)
    assert {"name", "state", "said", "fix"} == set(rows[0])
    assert not (short_path / "data").exists()
