"""Owns what the manifold's benchmarks share: a platform of small apps, its API asked without a
command in between, whose processes are Oriel's, and what those use.

Nothing here measures a bar; see the benchmarks. An app's programs are its own: counted are what
Oriel runs, and the bubblewraps around each dyno.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.debs import SETUP
from bench.rig import cpu_of
from oriel.client import credentials
from oriel.manifold.local import ready
from tests.story.platform import Platform, User

HEROKU = "application/vnd.heroku+json; version=3"
PUSHES_AT_ONCE = 4


class Town:
    """A platform, its owner, and a way to ask its API without a command's start-up."""

    def __init__(self, root: Path) -> None:
        """Start it, and log in."""
        self.platform = Platform(root / "platform")
        self.platform.start()
        self.owner: User = self.platform.set_up("rick@foobazco.com")
        kept = next(self.owner.home.rglob("credentials.json"))
        self.token = credentials.token_for(str(kept), self.platform.api)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """One call of the API; raises RuntimeError for a refusal, OSError without an answer."""
        door = http.client.HTTPConnection("127.0.0.1", self.platform.api_port, timeout=120)
        try:
            headers = {
                "Authorization": f"Bearer {self.token}",
                "Accept": HEROKU,
                "Content-Type": "application/json",
            }
            door.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = door.getresponse()
            text = answer.read()
        finally:
            door.close()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]!r}")
        return json.loads(text or b"null")

    def apps(self, names: Sequence[str], files: Mapping[str, str]) -> None:
        """Create apps and deploy the same tree to each, several at once."""
        source = Path(tempfile.mkdtemp(dir=self.platform.root))
        for name, text in files.items():
            (source / name).write_text(text)
        git = ("git", "-C", str(source))
        self.owner.run(*git, "init", "-q", "-b", "main")
        self.owner.run(*git, "add", "-A")
        self.owner.run(*git, "commit", "-q", "-m", "one")

        def make(name: str) -> None:
            self.ask("POST", "/apps", {"name": name})
            url = f"http://x:{self.token}@127.0.0.1:{self.platform.api_port}/{name}.git"
            self.owner.run(*git, "push", "-q", url, "main")

        with ThreadPoolExecutor(PUSHES_AT_ONCE) as pool:
            list(pool.map(make, names))

    def scale(self, app: str, **quantities: int) -> None:
        """Wish for so many dynos of each type."""
        updates = [{"type": each, "quantity": count} for each, count in quantities.items()]
        self.ask("PATCH", f"/apps/{app}/formation", {"updates": updates})

    def states(self, app: str) -> list[str]:
        """The state of each dyno of an app."""
        return [each["state"] for each in self.ask("GET", f"/apps/{app}/dynos")]

    def all_up(self, app: str, count: int) -> bool:
        """Whether exactly so many dynos of an app are there, all up."""
        return self.states(app) == ["up"] * count

    def close(self) -> None:
        """Stop it, and every dyno."""
        self.platform.stop()


@contextmanager
def town() -> Iterator[Town]:
    """A platform for the length of a block."""
    with tempfile.TemporaryDirectory(prefix="oriel-bench-") as root:
        os.chmod(root, 0o755)
        made = Town(Path(root))
        try:
            yield made
        finally:
            made.close()


def until(ready: Callable[[], bool], within_s: float = 120.0, pause_s: float = 0.02) -> None:
    """Wait until something is so; raises TimeoutError."""
    stop = time.monotonic() + within_s
    while not ready():
        if time.monotonic() > stop:
            raise TimeoutError("what a benchmark waits for does not come")
        time.sleep(pause_s)


def oriels(platform: Platform) -> dict[int, str]:
    """Every process that is Oriel's, by pid, and what it is: `oriel up` and all that came of it, of
    each sandbox bubblewrap alone; and the shells that wait in those that are kept ready.
    """
    assert platform.up is not None
    parts = {platform.pid(name): name for name in ("control", "logplex", "haproxy")}
    found = {platform.up.pid: "oriel up"}
    parents, names = _parents()
    waiting = [platform.up.pid]
    while waiting:
        above = waiting.pop()
        for pid in [each for each, parent in parents.items() if parent == above]:
            waiting.append(pid)
            if names[pid] == "bwrap":
                found[pid] = "bubblewrap"
            elif _waits(pid):
                found[pid] = "shells that are ready"
            elif "bubblewrap" not in (found.get(above), found.get(parents.get(above, 0))):
                found[pid] = parts.get(pid) or _role(found.get(above, ""))
    return {pid: role for pid, role in found.items() if role}


def _waits(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return len(words) > 2 and words[2].startswith(ready.WAIT.encode())


def _role(parent: str) -> str:
    """What a child is, by its parent. What came of an app's program is nothing of Oriel's."""
    return {"control": "spawner", "haproxy": "haproxy"}.get(parent, parent)


def _parents() -> tuple[dict[int, int], dict[int, str]]:
    parents, names = {}, {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = Path(f"/proc/{name}/stat").read_text()
            except OSError:
                continue
            parents[int(name)] = int(stat[stat.rindex(")") + 2 :].split()[1])
            names[int(name)] = stat[stat.index("(") + 1 : stat.rindex(")")]
    return parents, names


def cpu_by_role(processes: Mapping[int, str]) -> dict[str, float]:
    """CPU seconds so far, added up by role."""
    found: dict[str, float] = {}
    for pid, role in processes.items():
        try:
            found[role] = found.get(role, 0.0) + cpu_of(pid)
        except OSError:
            continue
    return found


def memory_by_role(processes: Mapping[int, str], field: str) -> dict[str, float]:
    """Resident memory in MB added up by role: `Rss` as each process has it, or `Pss`, in which a
    page that n processes share counts 1/n in each.
    """
    found: dict[str, float] = {}
    for pid, role in processes.items():
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        kilobytes = sum(int(each.split()[1]) for each in lines if each.startswith(f"{field}:"))
        found[role] = found.get(role, 0.0) + kilobytes / 1024
    return found


def peers() -> Path | None:
    """A virtual environment with supervisord and circus; None when it cannot be made."""
    place = SETUP / "bench-managers"
    if (place / "bin" / "circusd").exists() and (place / "bin" / "supervisord").exists():
        return place
    try:
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, timeout=120)
        words = [str(place / "bin" / "python"), "-m", "pip", "install", "-q"]
        subprocess.run([*words, "supervisor", "circus", "setuptools<80"], check=True, timeout=240)
    except (subprocess.SubprocessError, OSError) as error:
        print(f"no supervisord, no circus: {error}", file=sys.stderr)
        return None
    return place


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which that part of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
