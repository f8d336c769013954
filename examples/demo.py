"""Plays the story: a good deploy, a bad one, a look at it, a rollback, the fix. For real.

Every command that is shown is run as it is shown, and what it prints is shown as it comes. After
each step it says what was checked, and it ends at the first thing that did not turn out so. It
touches nothing outside a temporary directory of its own, and leaves nothing behind.
"""
# ruff: noqa: D103, S101, T201, TID251

from __future__ import annotations

import argparse
import contextlib
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent
APP = "foobaz-production"
RICK, NED = "rick@foobazco.com", "ned@foobazco.com"
WAIT_S = 45.0
PAUSE_S = 0.1
COMMAND_TIMEOUT_S = 300.0
TAIL_LINES = 25


class NotSo(Exception):
    """Something did not turn out as the story has it."""


class Stage:
    """Where the story plays: the directory, the users, the platform, the terminal."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.api, self.web = free_port(), free_port()
        self.api_url = f"http://127.0.0.1:{self.api}"
        self.url = f"http://{APP}.localhost:{self.web}/"
        self.user = RICK
        self.checked = 0
        self.up: subprocess.Popen[bytes] | None = None
        self.password = secrets.token_urlsafe(12)
        for user in (RICK, NED):
            self.home(user).mkdir()

    def home(self, user: str) -> Path:
        """Each user has a home, and so an `oriel login`, of their own."""
        return self.directory / user.partition("@")[0]

    def repository(self) -> Path:
        """Where the present user has the app's code."""
        return self.home(self.user) / "foobaz"

    def environment(self) -> dict[str, str]:
        """The present user's: nothing of who runs the demo but what programs need."""
        home, name = str(self.home(self.user)), self.user.partition("@")[0].capitalize()
        dropped = ("GIT_", "ORIEL_", "XDG_", "HEROKU_")
        kept = {key: text for key, text in os.environ.items() if not key.startswith(dropped)}
        return kept | {
            "HOME": home,
            "XDG_CONFIG_HOME": f"{home}/.config",
            "XDG_CACHE_HOME": f"{home}/.cache",
            "XDG_DATA_HOME": f"{home}/.local/share",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "ORIEL_API": self.api_url,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": f"{home}/.gitconfig",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_AUTHOR_NAME": name,
            "GIT_AUTHOR_EMAIL": self.user,
            "GIT_COMMITTER_NAME": name,
            "GIT_COMMITTER_EMAIL": self.user,
            "COLUMNS": "100",
            "PAGER": "cat",
            "LC_ALL": "C.UTF-8",
            "TMPDIR": str(self.directory),
        }

    # What the audience sees.

    def chapter(self, title: str) -> None:
        """A heading."""
        say(f"\n{paint(title, '1')}\n")

    def run(self, command: str, *, fails: bool = False, shown: str = "") -> str:
        """Run a command as it is typed at a terminal, showing its output as it comes."""
        say(f"{paint('$', '2')} {shown or command}")
        with self._start(command) as running:
            assert running.stdout is not None
            output = ""
            for line in running.stdout:
                output += line
                say(line.rstrip())
            code = running.wait(COMMAND_TIMEOUT_S)
        if (code != 0) != fails:
            raise NotSo(f"`{shown or command}` ended with status {code}")
        return output

    def quietly(self, command: str) -> str:
        """Run a command without showing it; empty when it fails."""
        with self._start(command, quiet=True) as running:
            output, _ = running.communicate(timeout=COMMAND_TIMEOUT_S)
        return output if running.returncode == 0 else ""

    def run_once(self, command: str, fits: Callable[[str], bool], what: str) -> str:
        """Type a command again and again, as with `watch`, and show the first time that fits."""
        deadline = time.monotonic() + WAIT_S
        output = self.quietly(command)
        while not fits(output):
            if time.monotonic() > deadline:
                say(f"$ {command}\n{output.rstrip()}")
                raise NotSo(f"{what}: not within {WAIT_S:g} s")
            time.sleep(PAUSE_S)
            output = self.quietly(command)
        say(f"{paint('$', '2')} {command}\n{output.rstrip()}")
        self.check(what, True)
        return output

    def check(self, what: str, so: object) -> None:
        """Say what was checked; the first thing that is not so ends the demo."""
        if not so:
            raise NotSo(what)
        self.checked += 1
        say(paint(f"  ✓ {what}", "32"))

    def _start(self, command: str, *, quiet: bool = False) -> subprocess.Popen[str]:
        where = self.repository() if self.repository().is_dir() else self.home(self.user)
        return subprocess.Popen(
            ["bash", "-o", "pipefail", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else subprocess.STDOUT,
            env=self.environment(),
            cwd=where,
            text=True,
            errors="replace",
        )

    # What the story needs.

    def serves(self) -> tuple[int, str]:
        """Status and body of the app's page; 0 while nobody listens."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.web}/", headers={"Host": f"{APP}.localhost:{self.web}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                return answer.status, answer.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode(errors="replace")
        except OSError:
            return 0, ""

    def fetch(self, *, page: bool = False) -> str:
        """The app's answer, as a visitor gets it; of a page only what stands in it."""
        if shutil.which("curl"):
            seen = " | grep -oE '<(h1|p)>[^<]+|status [0-9]+'" if page else ""
            return self.run(f"curl -s -w 'status %{{http_code}}\\n' {self.url}{seen}")
        status, body = self.serves()
        text = re.sub(r"<style.*?</style>|<[^>]*>", " ", body, flags=re.DOTALL) if page else body
        say(f"GET {self.url}\n{text.strip()}\nstatus {status}")
        return f"{body}\nstatus {status}\n"


def play(stage: Stage) -> None:
    """The story."""
    start_platform(stage)
    make_accounts(stage)
    good_deploy(stage)
    bad_deploy(stage)
    look(stage)
    roll_back(stage)
    fix(stage)
    look_back(stage)


def start_platform(stage: Stage) -> None:
    stage.chapter("A platform of one's own")
    command = (
        f"oriel up --data {stage.data} --api 127.0.0.1:{stage.api} --web 127.0.0.1:{stage.web}"
    )
    say(f"{paint('$', '2')} {command} &")
    log = stage.directory / "up.log"
    with log.open("wb") as out:
        stage.up = subprocess.Popen(
            shlex.split(command),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=stage.environment(),
            executable=str(Path(sys.executable).parent / "oriel"),
            start_new_session=True,
            cwd="/",
        )
    deadline = time.monotonic() + 60
    while "Ctrl-C" not in log.read_text():
        broken = stage.up.poll() is not None or "starting it again in 2 s" in log.read_text()
        if broken or time.monotonic() > deadline:
            raise NotSo("`oriel up` did not come up")
        time.sleep(0.05)
    said = log.read_text()
    say(said.rstrip())
    stage.check("the API listens where it says", stage.api_url in said)
    token = stage.data / "setup-token"
    stage.check(
        "the setup token is in a file that only its owner can read, and nowhere else",
        token.stat().st_mode & 0o777 == 0o600 and token.read_text().strip() not in said,
    )


def make_accounts(stage: Stage) -> None:
    stage.chapter("Rick owns it, and invites Ned")
    typed = f"printf '%s\\n' {RICK} {stage.password} | oriel login --stdin"
    setup = f"--setup {stage.data}/setup-token"
    stage.run(f"{typed} {setup}", shown=f"oriel login {setup}")
    invitation = stage.run(f"oriel users:add {NED}").split()[-1]
    stage.user = NED
    stage.run(
        f"printf '%s\\n' {invitation} {stage.password} | oriel login --stdin --invitation",
        shown="oriel login --invitation",
    )
    stage.check("Ned is logged in", stage.run("oriel whoami").strip() == NED)
    stage.user = RICK


def good_deploy(stage: Stage) -> None:
    stage.chapter("Rick deploys FooBaz")
    shutil.copytree(
        EXAMPLES / "foobaz", stage.repository(), ignore=shutil.ignore_patterns("__pycache__")
    )
    stage.run("git init -q -b main && git add . && git commit -q -m 'FooBaz'")
    stage.run(f"oriel apps:create {APP}")
    stage.run(f"oriel access:add {NED} -a {APP}")
    pushed = stage.run("git push oriel main")
    released(stage, pushed, 2)
    stage.run("oriel ps:scale web=2 worker=2")
    stage.run_once("oriel ps", all_rows(r"up for \d+s", 4), "two web and two worker dynos are up")
    page = stage.fetch()
    stage.check("the page is served", "FooBaz at your service" in page and "status 200" in page)


def bad_deploy(stage: Stage) -> None:
    stage.chapter("Ned pulls duplicated code out into a new library, and pushes")
    rick = stage.repository()
    stage.user = NED
    stage.run(f"git clone -q {rick} foobaz")
    stage.run(f"oriel git:remote -a {APP}")
    shutil.copytree(EXAMPLES / "foobaz-refactored", stage.repository(), dirs_exist_ok=True)
    stage.run("git commit -q -a -m 'Pull duplicated code out into Utils'")
    released(stage, stage.run("git push oriel main"), 3)


def look(stage: Stage) -> None:
    stage.chapter("Disaster! Ned looks")
    stage.run_once("oriel ps", all_rows(r"crashed for \d+s", 4), "every dyno is crashed")
    logs = stage.run("oriel logs --ps web.1")
    stage.check(
        "the traceback is in the log of web.1, and names the module that is missing",
        re.search(r"app\[web\.1\]: ModuleNotFoundError: No module named 'lib\.utils'", logs),
    )
    stage.check(
        "the log says that the process ended, after its last words",
        re.search(
            r"ModuleNotFoundError.*heroku\[web\.1\]: Process exited with status 1", logs, re.DOTALL
        ),
    )
    page = stage.fetch(page=True)
    stage.check("visitors get the error page", "status 503" in page and "Application error" in page)


def roll_back(stage: Stage) -> None:
    stage.chapter("Ned takes a deep breath, and rolls back")
    began = time.monotonic()
    said = stage.run("oriel rollback")
    stage.check(
        "it went back to v2, as a new release v4",
        "-----> Rolling back to v2... done, v4" in said,
    )
    while stage.serves()[0] != 200:
        if time.monotonic() > began + WAIT_S:
            raise NotSo(f"the page was not served again within {WAIT_S:g} s")
        time.sleep(0.01)
    took_s = time.monotonic() - began
    stage.check(f"the page was served again {took_s:.1f} s after he typed it", True)
    stage.run_once("oriel ps", all_rows(r"up for \d+s", 4), "every dyno is up again")
    page = stage.fetch()
    stage.check("the page is served", "FooBaz at your service" in page and "status 200" in page)


def fix(stage: Stage) -> None:
    stage.chapter("The fix")
    forgotten = stage.run("git status --short")
    stage.check("the file that he forgot", forgotten.split() == ["??", "lib/utils.py"])
    stage.run("git add lib/utils.py && git commit -q -m 'Add Utils'")
    released(stage, stage.run("git push oriel main"), 5)
    stage.run_once("oriel ps", all_rows(r"up for \d+s", 4), "every dyno is up")
    page = stage.fetch()
    stage.check("the page is served", "FooBaz at your service" in page and "status 200" in page)


def look_back(stage: Stage) -> None:
    stage.chapter("What happened")
    api = stage.run("oriel logs --source heroku --ps api")
    told = [line.partition("heroku[api]: ")[2] for line in api.splitlines()]
    expected = [
        rf"Deploy {commit(stage, 'HEAD~2')} by {RICK}",
        rf"Release v2 created by {RICK}",
        rf"Scale to web=2, worker=2 by {RICK}",
        rf"Deploy {commit(stage, 'HEAD~1')} by {NED}",
        rf"Release v3 created by {NED}",
        rf"Rollback to v2 by {NED}",
        rf"Release v4 created by {NED}",
        rf"Deploy {commit(stage, 'HEAD')} by {NED}",
        rf"Release v5 created by {NED}",
    ]
    places = [index for line in expected for index, text in enumerate(told) if text == line]
    stage.check(
        "each change is in the log once, in order, with who made it",
        len(places) == len(expected) and places == sorted(places),
    )
    releases = stage.run("oriel releases")
    rows = [re.split(r"  +", line.strip())[:3] for line in releases.splitlines()[2:]]
    stage.check(
        "the releases tell the story",
        rows[:4]
        == [
            ["v5", f"Deploy {commit(stage, 'HEAD')}", NED],
            ["v4", "Rollback to v2", NED],
            ["v3", f"Deploy {commit(stage, 'HEAD~1')}", NED],
            ["v2", f"Deploy {commit(stage, 'HEAD~2')}", RICK],
        ],
    )


def commit(stage: Stage, revision: str) -> str:
    return stage.quietly(f"git rev-parse {revision}").strip()[:7]


def released(stage: Stage, pushed: str, version: int) -> None:
    """The closing lines of a push."""
    stage.check(
        f"the push made release v{version}",
        re.search(rf"-----> Launching\.\.\. done, v{version}\b", pushed)
        and f"http://{APP}.localhost:{stage.web} deployed to Oriel" in pushed,
    )


def all_rows(state: str, count: int) -> Callable[[str], bool]:
    """Whether `oriel ps` shows that many dynos, all in that state."""
    row = re.compile(rf"\w+\.\d+ +{state} ")

    def fits(output: str) -> bool:
        rows = [line for line in output.splitlines()[2:] if line.strip()]
        return len(rows) == count and all(row.match(line) for line in rows)

    return fits


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def say(text: str) -> None:
    print(text, flush=True)


def paint(text: str, colour: str) -> str:
    """Colours only on a terminal."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"


def explain(stage: Stage) -> None:
    """What the platform itself said last, to help to find out why."""
    logs = [stage.directory / "up.log", *sorted((stage.data / "log").glob("*.log"))]
    for log in logs:
        with contextlib.suppress(OSError):
            lines = log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
            say(f"\n--- {log.name}, its end:\n" + "\n".join(lines))
    if stage.up is not None and stage.up.poll() is None:
        say(f"\n--- oriel logs -a {APP}, its end:\n{stage.quietly(f'oriel logs -n 40 -a {APP}')}")


def clean_up(stage: Stage) -> None:
    """Stop the platform and its dynos, and remove everything."""
    if stage.up is not None:
        said = stage.quietly(f"oriel down --dynos --data {stage.data} && echo stopped")
        try:
            stage.up.wait(5)
        except subprocess.TimeoutExpired:
            stage.up.kill()
            stage.up.wait()
        if "stopped" not in said:
            say(f"The platform did not stop as it should; what is left is in {stage.directory}")
            return
    # Slugs are read-only, and a directory must be writable to be emptied.
    subprocess.run(["chmod", "-R", "u+rwX", str(stage.directory)], check=False)
    shutil.rmtree(stage.directory)


def how_to_go_on(stage: Stage) -> None:
    """For --stay: how to be Ned."""
    kept = ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "PATH", "ORIEL_API")
    names = (*kept, *(name for name in stage.environment() if name.startswith("GIT_")))
    lines = [f"export {name}={shlex.quote(stage.environment()[name])}" for name in names]
    (stage.directory / "ned.env").write_text("\n".join([*lines, f"cd {stage.repository()}"]) + "\n")
    stage.chapter("It goes on running")
    say(f"The app is at {stage.url}")
    say("Be Ned, in a shell of its own, and look around:")
    say(f"  bash --rcfile {stage.directory}/ned.env")
    say("  oriel ps ; oriel logs --tail ; oriel config:add FOO=baz ; oriel releases:diff v2 v5")
    say("When you have seen enough:")
    oriel = Path(sys.executable).parent / "oriel"
    say(f"  {oriel} down --dynos --data {stage.data} && rm -rf {stage.directory}")


def interrupted(number: int, _: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(prog="./demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--stay", action="store_true", help="leave the platform running")
    stay = parser.parse_args().stay
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    stage = Stage(Path(tempfile.mkdtemp(prefix="oriel-demo-")))
    began = time.monotonic()
    code = 1
    try:
        play(stage)
        code = 0
        if stay:
            how_to_go_on(stage)
    except NotSo as fault:
        say(paint(f"  ✗ {fault}", "31"))
        explain(stage)
    except KeyboardInterrupt:
        say("\nInterrupted.")
        code = 130
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if not (stay and code == 0):
            say("\nCleaning up.")
            clean_up(stage)
    if code == 0:
        say(f"\nAll {stage.checked} checks hold; {time.monotonic() - began:.0f} s.")
    return code


if __name__ == "__main__":
    sys.exit(main())
