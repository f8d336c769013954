"""The platform on weaker ground: as an ordinary user, and with `--isolation none`. What it does, it
does there as well; what it cannot keep apps from, it says at each start.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.story.platform import AppCopy, Platform, User, eventually
from tests.story.test_run import Terminal, hog

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

UID = 199_999
TUN = (
    "mount -t tmpfs none /mnt && mknod -m 666 /mnt/tun c 10 200 && "
    "mount --bind /mnt/tun /dev/net/tun && umount -l /mnt; "
)
"""As distributions have it: anybody may open it."""

NONE = "WARNING: --isolation none. Every app can read and change what its user can"
SAME = "not root, so all apps run as your user"

GROUNDS = {
    "root-none": (False, ("--isolation", "none"), NONE),
    "user-none": (True, ("--isolation", "none"), NONE),
    "user-bubblewrap": (True, (), SAME),
}


def as_user(home: Path) -> tuple[str, ...]:
    """Run a command as an ordinary user without any right, in a mount namespace for its /dev."""
    drop = f"--reuid={UID} --regid={UID} --clear-groups --inh-caps=-all --bounding-set=-all"
    script = f'{TUN} export HOME={home}; exec setpriv {drop} "$@"'
    return ("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh")


@pytest.fixture(
    params=[
        pytest.param(each, marks=pytest.mark.long) if each == "user-none" else each
        for each in GROUNDS
    ]
)
def ground(request: pytest.FixtureRequest) -> Iterator[tuple[Platform, str]]:
    is_user, flags, warning = GROUNDS[request.param]
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    if is_user and not shutil.which("setpriv"):
        pytest.skip("setpriv is not installed")
    # Not below pytest's own directory, into which only root may go.
    root = Path(tempfile.mkdtemp(prefix="oriel-ground-"))
    home = root / "whole"
    home.mkdir()
    root.chmod(0o755)
    if is_user:
        os.chown(home, UID, UID)
    whole = Platform(home, more=flags, under=as_user(home) if is_user else ())
    try:
        whole.start()
        yield whole, warning
    finally:
        whole.stop()
        shutil.rmtree(root, ignore_errors=True)


def test_a_whole_day_on_weaker_ground(ground: tuple[Platform, str]) -> None:
    platform, warning = ground
    assert platform.said().count(warning) == 1
    rick = platform.set_up("rick@foobazco.com")
    app = rick.app("foobaz")
    app.deploy("one")
    app.oriel("ps:scale", "web=1", "worker=1")
    app.answers("one")
    app.settles("up", "web.1", "worker.1")
    _inside(rick, app.name)
    before = {each["name"]: each["id"] for each in app.json("ps")}
    pid = platform.pid("control")
    platform.kill("control")
    eventually(lambda: platform.pid("control") != pid, what="another control")
    platform.is_ready()
    assert {each["name"]: each["id"] for each in app.json("ps")} == before
    platform.stop(dynos=False)
    platform.start()
    eventually(lambda: platform.said().count(warning) == 2, what="it is said again")
    assert {each["name"]: each["id"] for each in app.json("ps")} == before
    app.answers("one")
    assert rick.oriel("ps:exec", "-a", app.name, "web.1", "echo $DYNO").out == "web.1\n"
    app.oriel("config:set", "GREETING=hello")
    app.answers("one hello")
    app.settles("up", "web.1", "worker.1")
    logs = app.logs()
    assert logs.count("heroku[worker.1]: State changed from starting to up") == 2
    assert logs.count("app[worker.1]: working") == 2
    app.oriel("ps:scale", "worker=0")
    app.settles("up", "web.1")
    if warning == SAME:
        _memory_is_sampled(app)


def _memory_is_sampled(app: AppCopy) -> None:
    """No control group can be written here, and its size is what it may have all the same."""
    assert "no control group can be written" in app.user.platform.said()
    ran = app.oriel("run", hog(1100, 20.0), check=False)
    assert (ran.code, ran.out) == (137, ""), str(ran)
    assert any("Error R15 (Memory quota vastly exceeded)" in each for each in app.logs())


def _inside(rick: User, app: str) -> None:
    """One-offs and `ps:exec`, with streams and at a terminal."""
    ran = rick.oriel("run", "-a", app, "echo out; echo err >&2; exit 3", check=False)
    assert (ran.code, ran.out) == (3, "out\n"), str(ran)
    assert "err" in ran.err
    ran = rick.oriel("ps:exec", "-a", app, "web.1", "echo $DYNO; ls server.py; exit 4", check=False)
    assert (ran.code, ran.out) == (4, "web.1\nserver.py\n"), str(ran)
    for argv in (("run", "-a", app, "bash"), ("ps:exec", "-a", app, "web.1", "bash")):
        terminal = Terminal(rick, *argv)
        terminal.wait_for("$ ")
        terminal.type("stty size; exit 5\n")
        terminal.wait_for("30 100")
        assert terminal.end() == 5, (argv, terminal.seen)
