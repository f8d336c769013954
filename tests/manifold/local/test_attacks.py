"""Attacks from inside a dyno: each claim of the guarantees about isolation is tried by an app."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oriel.manifold.launcher import LaunchSpec
from oriel.manifold.local import launcher as local
from oriel.manifold.local.launcher import LocalLauncher
from oriel.sandbox import Exit
from tests.manifold.test_launcher_contract import UID, Hand, LocalBench, Story, opened

pytestmark = pytest.mark.real
ROOT_ONLY = pytest.mark.skipif(os.getuid() != 0, reason="only root has addresses to give")
Tell = Callable[[Story], None]

CONNECT = """
import errno, socket, sys
def tried(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.settimeout(3)
        try:
            s.connect(address)
            return "OPEN"
        except OSError as error:
            return errno.errorcode.get(error.errno, "timeout")
"""
SERVE = """
import os, socket
s = socket.create_server(("", int(os.environ["PORT"])))
print("listens", flush=True)
while True:
    c, who = s.accept()
    c.sendall(b"hello from " + os.environ["DYNO"].encode())
    c.close()
"""


@pytest.fixture
def tell(tmp_path: Path) -> Tell:
    def run(story: Story) -> None:
        async def whole() -> None:
            async with opened("local", tmp_path) as bench:
                await story(Hand(bench))

        asyncio.run(whole())

    return run


def put(hand: Hand, name: str, text: str) -> None:
    """A file of the slug."""
    path = hand.bench.slug / name
    path.write_text(textwrap.dedent(text))
    os.chown(path, UID, UID)


async def printed(hand: Hand, program: str, type: str = "worker") -> str:
    """What a Python program prints in a dyno."""
    put(hand, "attack.py", program)
    spec = await hand.start("python3 attack.py 2>&1; exit 0", type)
    await hand.end_of(spec)
    return hand.bench.said(spec.instance)


def needs_network(hand: Hand) -> str:
    """The gateway's address, where dynos have networks: root's, or an ordinary user's by pasta."""
    assert isinstance(hand.bench, LocalBench)
    sandboxes = hand.bench._sandboxes
    if sandboxes.network is not None:
        return sandboxes.network.subnet.gateway
    if sandboxes.taps is not None:
        return sandboxes.taps.gateway
    pytest.skip(sandboxes.capabilities.network_why)


def at(hand: Hand, spec: LaunchSpec) -> tuple[str, int]:
    assert isinstance(hand.bench, LocalBench)
    kept = json.loads((hand.bench.data / "dynos" / spec.instance / "identity.json").read_text())
    return kept["host"], kept["port"]


def reaches(where: tuple[str, int], uid: int = 0) -> str:
    """How a process of this machine gets on that connects there as that user."""
    program = f"{CONNECT}\nprint(tried(socket.AF_INET, {where!r}))"
    done = subprocess.run(
        ["/usr/bin/python3", "-c", program], user=uid, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def own_addresses() -> list[str]:
    """This machine's addresses beyond its loopback."""
    said = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout
    return [each for each in said.split() if ":" not in each]


# --- the network


@ROOT_ONLY
def test_only_root_and_the_router_reach_a_port(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        needs_network(hand)
        put(hand, "serve.py", SERVE)
        web = await hand.start("exec python3 serve.py", "web")
        await hand.says(web, "listens")
        where = at(hand, web)
        assert await asyncio.to_thread(reaches, where) == "OPEN"
        assert await asyncio.to_thread(reaches, where, 65534) == "ECONNREFUSED"
        other = f"{CONNECT}\nprint(tried(socket.AF_INET, {where!r}))"
        assert await printed(hand, other) == "ECONNREFUSED\n"

    tell(story)


def test_the_machine_is_out_of_reach_at_each_of_its_addresses(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        gateway = needs_network(hand)
        with socket.create_server(("", 0)) as listener:
            port = listener.getsockname()[1]
            places = ["127.0.0.1", gateway, *own_addresses()]
            program = f"{CONNECT}\nfor a in {places!r}: print(tried(socket.AF_INET, (a, {port})))"
            said = await printed(hand, program)
        assert said.split() == ["ECONNREFUSED"] * len(places)

    tell(story)


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192"],
)
def test_metadata_is_refused_by_us_and_not_by_chance(tell: Tell, address: str) -> None:
    async def story(hand: Hand) -> None:
        needs_network(hand)
        program = f"{CONNECT}\nprint(tried(socket.AF_INET, ({address!r}, 80)))"
        assert await printed(hand, program) == "ECONNREFUSED\n"

    tell(story)


@pytest.mark.parametrize("address", ["169.254.169.254", "own"])
def test_a_socket_bound_to_the_device_gets_past_nothing(tell: Tell, address: str) -> None:
    """The kernel takes what no route leads to for a neighbour then."""

    async def story(hand: Hand) -> None:
        needs_network(hand)
        with socket.create_server(("", 0)) as listener:
            port = listener.getsockname()[1] if address == "own" else 80
            where = (own_addresses()[0] if address == "own" else address, port)
            program = f"""
import errno, socket, struct
s = socket.socket(); s.settimeout(3); s.setsockopt(socket.SOL_SOCKET, 25, b"eth0")
print(errno.errorcode.get(s.connect_ex({where!r}), "timeout"))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
by = struct.pack("=i4s4s", socket.if_nametoindex("eth0"), b"", b"")
u.connect_ex({where!r})
for _ in range(2):
    try:
        u.sendmsg([b"x"], [(socket.IPPROTO_IP, 8, by)]); print("SENT")
    except OSError as error:
        print(errno.errorcode[error.errno])
"""
            first, *sent = (await printed(hand, program)).split()
        assert first == "ECONNREFUSED"
        if os.getuid() != 0:  # as root it is refused by the machine, and not inside
            assert "SENT" not in sent

    tell(story)


def test_there_is_no_ipv6_but_its_own_loopback(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        needs_network(hand)
        program = f"""{CONNECT}
print(open("/proc/net/if_inet6").read().split()[-1::6])
for a in ("fe80::1", "fd00::2", "2001:db8::1", "fd00:ec2::254", "::ffff:169.254.169.254"):
    print(tried(socket.AF_INET6, (a, 80, 0, 2)))
s = socket.create_server(("::", 8000), family=socket.AF_INET6, dualstack_ipv6=True)
print(tried(socket.AF_INET6, ("::1", 8000)), tried(socket.AF_INET, ("127.0.0.1", 8000)))
"""
        lines = (await printed(hand, program)).splitlines()
        assert lines[0] == "['lo']"
        assert set(lines[1:5]) <= {"ENETUNREACH", "EHOSTUNREACH", "EINVAL"}
        assert lines[5] in ("ECONNREFUSED", "ENETUNREACH")
        assert lines[6] == "OPEN OPEN"

    tell(story)


@ROOT_ONLY
def test_a_neighbour_s_address_and_port_cannot_be_taken(tell: Tell) -> None:
    """Nor are they given out before it is cleaned away: the router may still send there."""

    async def story(hand: Hand) -> None:
        needs_network(hand)
        crashed = await hand.start("exit 1", "web")
        await hand.end_of(crashed)
        host, port = at(hand, crashed)
        program = f"""
import socket
for s, option in ((socket.socket(), None), (socket.socket(), 15), (socket.socket(), 19)):
    try:
        if option: s.setsockopt(socket.IPPROTO_IP, option, 1)
        s.bind(({host!r}, {port})); s.listen(); print("BOUND", option)
    except OSError as e: print(e.errno)
"""
        said = await printed(hand, program)
        assert "BOUND None" not in said
        assert "BOUND 19" not in said, "IP_TRANSPARENT"
        assert await asyncio.to_thread(reaches, (host, port)) == "ECONNREFUSED"
        given = {at(hand, await hand.start("exit 0", "web"))[0] for _ in range(5)}
        assert len(given) == 5
        assert host not in given

    tell(story)


def test_addresses_and_routes_are_not_its_to_change(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        needs_network(hand)
        tries = (
            "ip addr add 192.0.2.99/32 dev eth0",
            "ip route add 192.0.2.98 dev lo",
            "ip link set eth0 down",
            "ip link add x type dummy",
            "nft flush ruleset",
        )
        asked = "; ".join(f"PATH=$PATH:/usr/sbin:/sbin {each} && echo DONE" for each in tries)
        spec = await hand.start(f"({asked}) 2>/dev/null; exit 0")
        await hand.end_of(spec)
        assert hand.bench.said(spec.instance) == ""

    tell(story)


@pytest.fixture
def internet() -> Iterator[tuple[str, str]]:
    """A machine of its own beyond ours, that serves: (our address on the way, its address)."""
    name = f"oi{os.getpid() % 100_000}"
    third = 1 + os.getpid() % 250
    ours, theirs = f"198.51.{third}.1", f"198.51.{third}.2"

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    ip("netns", "add", name)
    try:
        ip("link", "add", name, "type", "veth", "peer", "name", "wan", "netns", name)
        ip("addr", "add", f"{ours}/24", "dev", name)
        ip("link", "set", name, "up")
        ip("-n", name, "addr", "add", f"{theirs}/24", "dev", "wan")
        ip("-n", name, "link", "set", "wan", "up")
        ip("-n", name, "route", "add", "default", "via", ours)
        yield name, theirs
    finally:
        ip("netns", "del", name)


@ROOT_ONLY
def test_the_internet_is_reached_and_does_not_reach_back(
    tell: Tell, internet: tuple[str, str]
) -> None:
    name, theirs = internet
    server = """
import socket
s = socket.create_server(("", 8000)); print("up", flush=True)
c, who = s.accept(); c.sendall(who[0].encode())
"""

    async def story(hand: Hand) -> None:
        needs_network(hand)
        beyond = subprocess.Popen(
            ["ip", "netns", "exec", name, "python3", "-c", server], stdout=subprocess.PIPE
        )
        try:
            assert beyond.stdout is not None
            await asyncio.to_thread(beyond.stdout.readline)
            program = (
                f"import socket\nprint(socket.create_connection(({theirs!r}, 8000), 5).recv(99))"
            )
            assert await printed(hand, program) == repr(theirs[:-1] + "1").join(("b", "\n"))
        finally:
            beyond.kill()
            beyond.wait()
            assert beyond.stdout is not None
            beyond.stdout.close()
        put(hand, "serve.py", SERVE)
        web = await hand.start("exec python3 serve.py", "web")
        await hand.says(web, "listens")
        back = f"{CONNECT}\nprint(tried(socket.AF_INET, {at(hand, web)!r}))"
        done = await asyncio.to_thread(
            subprocess.run,
            ["ip", "netns", "exec", name, "python3", "-c", back],
            capture_output=True,
            text=True,
        )
        # Refused by this platform's rules, or dropped by those of another one on this machine.
        assert done.stdout in ("ECONNREFUSED\n", "timeout\n")

    tell(story)


def test_abstract_sockets_of_the_machine_are_not_there(tell: Tell) -> None:
    name = f"\0oriel-attack-{os.getpid()}"

    async def story(hand: Hand) -> None:
        needs_network(hand)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(name)
            listener.listen()
            program = f"{CONNECT}\nprint(tried(socket.AF_UNIX, {name!r}))"
            assert await printed(hand, program) == "ECONNREFUSED\n"

    tell(story)


# --- the kernel


@pytest.mark.parametrize(
    ("call", "refused"),
    [
        ("unshare(0x10000000)", "EPERM"),
        ("syscall(435, b'\\0' * 88, 88)", "ENOSYS"),
        ("syscall(425, 8, b'\\0' * 120)", "ENOSYS"),
        ("ptrace(16, 1, 0, 0)", "EPERM"),
        ("mount(b'x', b'/tmp', b'tmpfs', 0, 0)", "EPERM"),
        ("syscall(430, b'tmpfs', 0)", "EPERM"),
        ("setns(0, 0)", "EPERM"),
        ("ioctl(0, 0x5412, b'x')", "EPERM"),
        ("process_vm_writev(1, 0, 0, 0, 0, 0)", "EPERM"),
        ("open_by_handle_at(0, b'\\0' * 16, 0)", "EPERM"),
        ("syscall(438, 0, 0, 0)", "EPERM"),
    ],
)
def test_what_no_app_needs_is_refused(tell: Tell, call: str, refused: str) -> None:
    async def story(hand: Hand) -> None:
        program = f"""
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
answer = libc.{call}
print(errno.errorcode[ctypes.get_errno()] if answer == -1 else "DONE")
"""
        assert await printed(hand, program) == f"{refused}\n"

    tell(story)


def test_sockets_of_other_families_are_not_there(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        program = """
import errno, socket
for family, kind, protocol in ((17, 3, 768), (40, 1, 0), (38, 5, 0), (16, 3, 12), (16, 3, 9)):
    try:
        socket.socket(family, kind, protocol); print("DONE")
    except OSError as error:
        print(errno.errorcode[error.errno])
socket.socket(16, 3, 0); print("routes")
"""
        assert (await printed(hand, program)).split() == ["EAFNOSUPPORT"] * 5 + ["routes"]

    tell(story)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="only there is a second kind of calls")
def test_calls_of_another_kind_are_the_end(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        put(hand, "x32.py", "import ctypes; ctypes.CDLL(None).syscall(0x40000000 + 272, 0)")
        spec = await hand.start("exec python3 x32.py")
        assert await hand.end_of(spec) == Exit(159, 31)

    tell(story)


def test_pid_1_s_memory_is_not_its_to_write(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        program = """
for where in ("/proc/1/mem", "/proc/1/task/1/mem"):
    for how in ("rb+", "rb"):
        try:
            print("OPENED", open(where, how).read(1))
        except OSError as error:
            print("refused")
"""
        assert "OPENED" not in await printed(hand, program)

    tell(story)


def test_pid_1_is_not_stopped(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        spec = await hand.start("kill -STOP 1; kill -KILL 1; kill -SEGV 1; exit 3")
        assert await hand.end_of(spec) == Exit(3)

    tell(story)


@ROOT_ONLY
def test_a_setuid_file_and_a_device_in_a_slug_give_nothing(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        slug = hand.bench.slug
        shutil.copy("/usr/bin/id", slug / "id")
        os.chown(slug / "id", 0, 0)
        (slug / "id").chmod(0o6755)
        os.mknod(slug / "memory", 0o666 | 0o020000, os.makedev(1, 1))
        os.mknod(slug / "zero", 0o666 | 0o020000, os.makedev(1, 5))
        for device in ("memory", "zero"):
            (slug / device).chmod(0o666)
        attack = "./id -u; for d in memory zero; do head -c 1 $d >/dev/null && echo READ; done"
        spec = await hand.start(f"({attack}) 2>/dev/null; exit 0")
        await hand.end_of(spec)
        assert hand.bench.said(spec.instance) == f"{UID}\n"

    tell(story)


@pytest.mark.parametrize(
    ("needs", "command"),
    [
        (
            "python3",
            """python3 -c '
import asyncio, multiprocessing, subprocess, threading
t = threading.Thread(target=print, args=("thread",)); t.start(); t.join()
subprocess.run(["/bin/echo", "child"], check=True)
asyncio.run(asyncio.sleep(0))
q = multiprocessing.get_context("fork").Queue(); q.put(1); print("queue", q.get())'""",
        ),
        (
            "node",
            """node -e '
const { Worker } = require("worker_threads"), http = require("http"), cp = require("child_process");
const s = http.createServer((q, r) => r.end("ok")).listen(0, () =>
  http.get({ port: s.address().port, host: "127.0.0.1" }, r => { console.log(r.statusCode);
    console.log(require("os").networkInterfaces().lo.length > 0);
    require("fs").promises.readFile("hello").then(() => cp.execSync("echo shell"));
    new Worker("console.log(1)", { eval: true }).on("exit", () => s.close()); }));'""",
        ),
        ("java", "java -Xmx64m -version"),
        ("perl", "perl -MSocket -e 'print 1 if fork // die'"),
        ("git", "git init -q /tmp/x && git -C /tmp/x status"),
    ],
)
def test_real_runtimes_work_under_the_filter(tell: Tell, needs: str, command: str) -> None:
    if not os.access(f"/usr/bin/{needs}", os.X_OK):
        pytest.skip(f"{needs} is not installed")

    async def story(hand: Hand) -> None:
        spec = await hand.start(f"set -e; {command} 2>&1")
        assert await hand.end_of(spec) == Exit(0), hand.bench.said(spec.instance)

    tell(story)


# --- what it uses up


def limited(hand: Hand) -> None:
    assert isinstance(hand.bench, LocalBench)
    if hand.bench._sandboxes.cgroups is None:
        pytest.skip("no control group can be written here")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A size that is quickly used up."""
    size = local.sizes.Size("standard-1x", 24 << 20, 2.0, 100, 64)
    monkeypatch.setitem(local.sizes.SIZES, "standard-1x", size)


@pytest.mark.usefixtures("small")
def test_a_memory_hog_is_ended_and_it_is_said_why(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        limited(hand)
        put(hand, "hog.py", "x = [bytearray(1 << 20) for _ in range(2000)]; print(len(x))")
        spec = await hand.start("exec python3 hog.py")
        assert await hand.end_of(spec) == Exit(137, 9, out_of_memory=True)
        assert {instance for instance, _ in hand.over} == {spec.instance}

    tell(story)


@pytest.mark.usefixtures("small")
def test_a_full_disk_is_a_full_disk_and_not_the_end(tell: Tell) -> None:
    """All that it may write lies in memory, more than its programs may have, and it lives on."""

    async def story(hand: Hand) -> None:
        limited(hand)
        fill = "for d in /app /tmp; do cat /dev/zero >$d/x; stat -c %s $d/x; done"
        spec = await hand.start(f"({fill}) 2>&1; echo alive; sleep 1000")
        await hand.says(spec, "alive")
        assert hand.bench.said(spec.instance).count("No space left on device") == 2
        usage = await hand.bench.launcher.look(spec.instance)
        assert usage is not None
        assert usage.memory_bytes < 24 << 20, "its disk is not its memory"
        await hand.bench.launcher.kill(spec.instance)
        assert await hand.end_of(spec) == Exit.of(137)

    tell(story)


@pytest.mark.usefixtures("small")
def test_a_fork_bomb_ends_at_its_own_limit(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        program = """
import os, time
count = 0
try:
    while count < 500:
        if os.fork() == 0:
            time.sleep(1000)
        count += 1
except OSError:
    print(count, flush=True)
time.sleep(1000)
"""
        put(hand, "bomb.py", program)
        bomb = await hand.start("exec python3 bomb.py")
        await hand.until(lambda: hand.bench.said(bomb.instance), "it is refused")
        assert int(hand.bench.said(bomb.instance)) < 70
        other = await hand.start("(echo a | cat) && exit 0")
        assert await hand.end_of(other) == Exit(0)

    tell(story)


def test_it_leaves_the_group_that_limits_it_in_no_way(tell: Tell) -> None:
    async def story(hand: Hand) -> None:
        limited(hand)
        attack = "find / -name cgroup.procs 2>/dev/null | head -1; mount | grep -c cgroup"
        spec = await hand.start(f"{attack}; exit 0")
        await hand.end_of(spec)
        assert hand.bench.said(spec.instance) == "0\n"

    tell(story)


# --- what is left


def test_nothing_is_left_in_the_kernel(tmp_path: Path) -> None:
    """After an end, and after a kill of everything but the dynos."""

    async def whole() -> None:
        async with opened("local", tmp_path) as bench:
            assert isinstance(bench, LocalBench)
            hand = Hand(bench)
            runs = await hand.start("echo up; sleep 1000", "web")
            await hand.says(runs, "up")
            ended = await hand.start("exit 0")
            await hand.end_of(ended)
            await bench.desert()
            hand = Hand(bench)
            await bench.launcher.adopt()
            usage = await bench.launcher.look(runs.instance)
            assert usage is not None
            assert usage.processes >= 1
            await bench.launcher.kill(runs.instance)
            await hand.end_of(runs)
            network, cgroups = bench._sandboxes.network, bench._sandboxes.cgroups
            assert isinstance(bench.launcher, LocalLauncher)
        if network is not None:
            assert not list(Path("/sys/class/net").glob(f"{network.subnet.devices}*"))
            tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True)
            assert network.subnet.table not in tables.stdout
        if cgroups is not None:
            assert not any(place.exists() for place in cgroups.places.values())

    asyncio.run(whole())
