"""The network of an ordinary user's dynos, tried by one: a fresh uid in a mount namespace where it
may open /dev/net/tun, or may not, whatever this machine's own says.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from oriel.sandbox import taps
from oriel.sandbox.subnet import Names, Openings, Subnet

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else"),
]
ROOT = Path(__file__).parents[3]
TUN = Path("/dev/net/tun")
END_S = 5.0
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
BOTH = (
    "out_of_reach or metadata or bound_to_the_device or no_ipv6 or not_its_to_change "
    "or abstract_sockets"
)
LOOK = """
import asyncio, json, sys
from pathlib import Path
from oriel.sandbox import Sandboxes
async def main():
    sandboxes = Sandboxes(Path(sys.argv[1]))
    await sandboxes.start()
    able = sandboxes.capabilities
    print(json.dumps([able.network, able.network_why, sandboxes.taps is not None]))
    await sandboxes.close()
asyncio.run(main())
"""
TRY = """
import sys
from oriel.sandbox import capabilities
print(capabilities.try_out("pasta", sys.argv[1]))
"""

Someone = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def someone() -> Iterator[Someone]:
    """Runs Python as a fresh user, who leaves no process behind."""
    uid = 300_000 + os.getpid() % 100_000
    home = Path(tempfile.mkdtemp(prefix="oriel-user-"))
    os.chown(home, uid, uid)
    if not TUN.exists():
        pytest.skip(f"{TUN} is not there")

    def run(*words: str, tun: int = 0o666) -> subprocess.CompletedProcess[str]:
        node = home / "tun"
        node.unlink(missing_ok=True)
        try:
            os.mknod(node, 0o020000 | tun, TUN.stat().st_rdev)
            node.chmod(tun)
        except OSError as error:
            pytest.skip(f"no device can be made here: {error.strerror}")
        become = f"mount --bind {node} {TUN} && exec setpriv --reuid {uid} --regid {uid} "
        become += '--clear-groups -- "$@"'
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", become, "sh", sys.executable, *words],
            cwd=ROOT,
            env={"PATH": PATH, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
        )

    try:
        if run("-c", "import oriel.sandbox").returncode != 0:
            pytest.skip("this clone and its Python are not another user's to read")
        yield run
        assert [pid for pid in processes(uid) if not ends(pid)] == []
    finally:
        shutil.rmtree(home, ignore_errors=True)


def processes(uid: int) -> list[int]:
    """Those of a user, the ended ones that nobody reaped left out."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            lines = (place / "status").read_text().splitlines()
            said = dict(line.split(":", 1) for line in lines)
            if int(said["Uid"].split()[0]) == uid and said["State"].split()[0] != "Z":
                found.append(int(place.name))
    return found


def ends(pid: int) -> bool:
    """Whether a process ends in a moment: the kernel kills in its own time."""
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            return bool(select.select([descriptor], [], [], END_S)[0])
        finally:
            os.close(descriptor)
    return True


def needs_pasta() -> str:
    found = shutil.which("pasta")
    if found is None:
        pytest.skip("pasta is not installed (package passt)")
    return found


@pytest.mark.parametrize(
    ("file", "which", "least"), [("test_attacks.py", BOTH, 11), ("test_tapped.py", "test", 9)]
)
def test_an_ordinary_user_s_dynos_are_walled_off(
    someone: Someone, file: str, which: str, least: int
) -> None:
    needs_pasta()
    home = Path(someone("-c", "import os; print(os.environ['HOME'])").stdout.strip())
    done = someone(
        *("-m", "pytest", "-rps", "-n", "0", "-p", "no:cacheprovider", "-k", which),
        *(f"--basetemp={home}/base", f"tests/manifold/local/{file}"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SKIPPED" not in done.stdout, done.stdout
    assert done.stdout.count("\nPASSED ") >= least


def test_where_tun_may_not_be_opened_the_network_is_shared_and_it_is_said(
    someone: Someone,
) -> None:
    needs_pasta()
    done = someone("-c", LOOK, "/tmp", tun=0o600)
    network, why, tapped = json.loads(done.stdout)
    assert (network, tapped) == (False, False)
    assert why == "/dev/net/tun may not be opened by this user: Permission denied"


def wires(pasta: str, patience_s: float = 10.0) -> str:
    """A tap of no particular machine."""
    made = taps.Taps(pasta, shutil.which("nft", path=PATH) or "", Openings(), Subnet(7), Names(""))
    return json.dumps({**made.wires(None, ()), "patience_s": patience_s})


def test_pasta_itself_is_not_waited_for_where_it_hangs(someone: Someone) -> None:
    done = someone("-c", TRY, wires(needs_pasta()), tun=0o600)
    assert done.stdout == "pasta: Failed to open tun socket in namespace\n", done.stderr


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("exit 3", "pasta: it ended at once"),
        ("echo 'Failed to send 9 bytes to syslog' >&2; echo broken >&2; exit 1", "pasta: broken"),
        ("exec sleep 1000", "pasta was not ready after 0.5 s"),
    ],
)
def test_what_pasta_cannot_do_is_told_in_time(someone: Someone, program: str, said: str) -> None:
    place = Path(tempfile.mkdtemp(prefix="oriel-pasta-"))
    try:
        place.chmod(0o755)
        fake = place / "pasta"
        fake.write_text(f"#!/bin/sh\n{program}\n")
        fake.chmod(0o755)
        assert someone("-c", TRY, wires(str(fake), 0.5)).stdout == f"{said}\n"
    finally:
        shutil.rmtree(place)
