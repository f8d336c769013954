"""A stop of the platform with dynos that go on, for real: they lose no word, nor their lives."""

import array
import fcntl
import os
import shutil
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from oriel.house import keeper
from tests.story.platform import Platform, eventually

COUNTER = (
    "import time\nn = 0\nwhile True:\n    n += 1\n    print('count', n)\n    time.sleep(0.02)\n"
)
MISSING = [
    each
    for each in ("bwrap", "haproxy", "git")
    if not shutil.which(each, path="/usr/sbin:/usr/bin:/usr/local/bin")
]


@pytest.fixture
def whole(short_path: Path) -> Iterator[Platform]:
    made = Platform(short_path)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def _waiting_bytes(fifo: Path) -> int:
    """How much lies in a FIFO that nobody reads."""
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        count = array.array("i", [0])
        fcntl.ioctl(reader, termios.FIONREAD, count)
        return count[0]
    finally:
        os.close(reader)


@pytest.mark.real
@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}")
def test_what_dynos_say_between_down_and_up_is_in_the_log(whole: Platform) -> None:
    app = whole.set_up("rick@foobazco.com").app("counting")
    app.commit({"Procfile": "counter: python3 -u counter.py\n", "counter.py": COUNTER})
    app.push()
    app.oriel("ps:scale", "counter=1")
    app.settles("up", "counter.1")
    instance = app.json("ps")[0]["id"]

    whole.stop(dynos=False)
    (fifo,) = (whole.data / "dynos").glob("*/out")
    eventually(lambda: _waiting_bytes(fifo) > 200, what="the dyno goes on speaking")
    whole.start()

    assert [dyno["id"] for dyno in app.json("ps")] == [instance]
    spoken = len(app.logs("--ps", "counter.1"))
    seen = eventually(
        lambda: (lambda lines: lines if len(lines) > spoken else None)(
            app.logs("--ps", "counter.1")
        ),
        what="the log goes on",
    )
    counted = [int(line.split()[-1]) for line in seen if "]: count " in line]
    assert counted == list(range(counted[0], counted[0] + len(counted)))
    assert counted[0] == 1


def test_it_holds_what_it_inherited_until_it_is_told_to_end(short_path: Path) -> None:
    """The program alone: no argument, no file, no import of Oriel's."""
    fifo = short_path / "out"
    os.mkfifo(fifo)
    held = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    started = subprocess.Popen((sys.executable, "-I", "-S", keeper.__file__), pass_fds=(held,))
    os.close(held)
    writer = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    os.write(writer, b"kept\n")
    os.close(writer)
    assert _waiting_bytes(fifo) == 5
    started.terminate()
    started.wait(10)
    with pytest.raises(OSError, match="No such device"):
        os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
