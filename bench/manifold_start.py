"""How fast do dynos start, and does control come back? 100 dynos of a trivial program from the call
to all `up`, beside `xargs -P` starting the same program under bubblewrap with the same flags; and a
killed control, with 200 dynos running, to an answer that knows them all.

The peer gets no overlay, no status to keep, no FIFO, and nobody watches what it started: it is what
the kernel and bubblewrap take by themselves. Its programs count as started at their first word.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from bench import bare
from bench.dynos import Town, town, until
from bench.harness import Row, median, report

PROGRAM = "echo up; exec sleep 1000000"
FILES = {"Procfile": f"worker: {PROGRAM}\n"}
COUNT = 100
PARALLEL = 8
ASKED_EACH_S = 0.1
"""An answer about 100 dynos takes control 4 ms: asked all the time, that is what it would do."""


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="bench/manifold-start", description=__doc__)
    parser.add_argument("--long", action="store_true", help="three times as many runs")
    runs = 9 if parser.parse_args().long else 3
    with town() as platform:
        report("manifold-start", _measure(platform, runs))


def _measure(platform: Town, runs: int) -> list[Row]:
    platform.apps(["starts", "more"], FILES)
    bare_s = median(_bare_s, runs)
    ours_s = median(lambda: _start_s(platform), runs)
    platform.scale("starts", worker=COUNT)
    platform.scale("more", worker=COUNT)
    until(lambda: platform.all_up("starts", COUNT) and platform.all_up("more", COUNT), pause_s=0.1)
    backs = [_restart_s(platform)]
    for _ in range(runs // 3 - 1):
        # So that the next kill is not taken for one more crash in a row: it is started at once.
        time.sleep(31.0)
        backs.append(_restart_s(platform))
    return [
        Row(
            f"{COUNT} dynos, from the call to all up",
            ours_s,
            "s",
            f"at most 3 x xargs = {3 * bare_s:.3f} s",
            ours_s <= 3 * bare_s,
            {f"xargs -P {PARALLEL}, bubblewrap": bare_s},
        ),
        Row(
            f"control killed with {2 * COUNT} dynos, to an answering ps (worst of {len(backs)})",
            max(backs),
            "s",
            "at most 3 s",
            max(backs) <= 3.0,
        ),
    ]


def _start_s(platform: Town) -> float:
    begun = time.monotonic()
    platform.scale("starts", worker=COUNT)
    until(lambda: platform.all_up("starts", COUNT), pause_s=ASKED_EACH_S)
    took_s = time.monotonic() - begun
    platform.scale("starts", worker=0)
    until(lambda: not platform.states("starts"))
    return took_s


def _restart_s(platform: Town) -> float:
    """SIGKILL to an answer in which every dyno is up."""
    before = {each["id"] for each in platform.ask("GET", "/apps/more/dynos")}
    pid = platform.platform.pid("control")
    begun = time.monotonic()
    platform.platform.kill("control")

    def answers() -> bool:
        try:
            return platform.platform.pid("control") != pid and all(
                platform.all_up(app, COUNT) for app in ("starts", "more")
            )
        except (OSError, RuntimeError, ValueError):
            return False

    until(answers, pause_s=0.005)
    took_s = time.monotonic() - begun
    if {each["id"] for each in platform.ask("GET", "/apps/more/dynos")} != before:
        raise RuntimeError("dynos were restarted")
    return took_s


def _bare_s() -> float:
    """The same program under bubblewrap, by xargs."""
    root = Path(tempfile.mkdtemp(prefix="oriel-bench-bare-"))
    try:
        return _bare_in(root)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _bare_in(root: Path) -> float:
    os.chmod(root, 0o755)
    slug = root / "slug"
    slug.mkdir()
    flags, executed = bare.flags_and_command(PROGRAM, slug)
    (root / "flags").write_text("\0".join((*flags, "")))
    sandbox = " ".join((*bare.as_app(), "bwrap", "--args", "9"))
    program = " ".join(map(shlex.quote, executed))
    (root / "one").write_text(
        f'#!/bin/dash\n{sandbox} {program} >"$0.$1" 9<{root}/flags &\nread said <"$0.$1"\n'
    )
    (root / "one").chmod(0o755)
    for number in range(COUNT):
        os.mkfifo(root / f"one.{number}", 0o666)
    numbers = "\n".join(map(str, range(COUNT))).encode()
    begun = time.monotonic()
    subprocess.run(
        ["xargs", "-P", str(PARALLEL), "-n1", str(root / "one")],
        input=numbers,
        check=True,
        stderr=subprocess.DEVNULL,
    )
    took_s = time.monotonic() - begun
    _end_those_below(root)
    return took_s


def _end_those_below(root: Path) -> None:
    """End the sandboxes that were begun with flags from here: pid 1 of each, and with it all."""
    mine = [
        int(name)
        for name in os.listdir("/proc")
        if name.isdigit() and _writes_below(int(name), root)
    ]
    for pid in mine:
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            continue
    until(lambda: not any(_writes_below(pid, root) for pid in mine), pause_s=0.05)


def _writes_below(pid: int, root: Path) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/fd/1").startswith(str(root))
    except OSError:
        return False


if __name__ == "__main__":
    main()
