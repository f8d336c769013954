"""How fast is the way back? Rollback and re-deploy of the story's app, and the CPU of `oriel ps`.

Beside each: the same app started bare (gunicorn, no Oriel), a bare `git push`, `python -c pass`,
and the official Heroku command line against the same server where it can be installed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from bench.harness import Row, cpu_s, median, report
from oriel.client import credentials
from tests.story.platform import AppCopy, Platform, eventually, free_port

EXAMPLE = Path(__file__).parent.parent / "examples" / "foobaz"
PYTHON = "/usr/bin/python3"


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="bench/story", description=__doc__)
    parser.add_argument("--long", action="store_true", help="four times as many runs")
    runs = 20 if parser.parse_args().long else 5
    with tempfile.TemporaryDirectory(prefix="oriel-bench-") as root:
        os.chmod(root, 0o755)
        platform = Platform(Path(root) / "platform")
        platform.start()
        try:
            report("story", _measure(platform, Path(root), runs))
        finally:
            platform.stop()


def _measure(platform: Platform, root: Path, runs: int) -> list[Row]:
    rick = platform.set_up("rick@foobazco.com")
    app = rick.app("foobaz")
    shutil.copytree(EXAMPLE, app.path, dirs_exist_ok=True)
    _version(app, 0)
    app.push()
    app.answers("version-0", within_s=60)
    bare_s = median(lambda: _bare_start_s(root, app), runs)
    git_s = median(lambda: _bare_push_s(root, app), runs)
    versions = iter(range(1, 1000))
    deploy_s = median(lambda: _deploy_s(app, next(versions)), runs)
    rollback_s = median(lambda: _rollback_s(app), runs)
    beyond_s = deploy_s - git_s - bare_s
    most_s = 1.5 * bare_s + 0.15
    return [
        Row("bare start-up of the app to its first answer", bare_s, "s"),
        Row(
            "rollback, command's start to first answer of the old code",
            rollback_s,
            "s",
            f"at most 1.5 x bare + 0.15 = {most_s:.3f} s",
            rollback_s <= most_s,
            {"bare start-up": bare_s},
        ),
        Row("git push of the same commit to a bare repository", git_s, "s"),
        Row("re-deploy, push's start to first answer of the new code", deploy_s, "s"),
        Row(
            "re-deploy beyond git and start-up",
            beyond_s,
            "s",
            "at most 3 s",
            beyond_s <= 3.0,
        ),
        *_cpu_rows(platform, app, runs * 2),
    ]


APP = """
from pathlib import Path
from flask import Flask

app = Flask(__name__)
VERSION = Path(__file__).with_name("version.txt").read_text()


@app.get("/")
def index():
    return VERSION
"""


def _version(app: AppCopy, number: int) -> None:
    (app.path / "app.py").write_text(APP)
    (app.path / "version.txt").write_text(f"version-{number}\n")
    app.user.run("git", "add", "-A", cwd=app.path)
    app.user.run("git", "commit", "-q", "-m", f"version {number}", cwd=app.path)


def _bare_start_s(root: Path, app: AppCopy) -> float:
    """The app without Oriel: its own requirements, its own command, to its first answer."""
    venv = root / "bare"
    if not venv.exists():
        uv = str(Path(sys.executable).parent / "uv")
        subprocess.run([uv, "venv", "-q", "--python", PYTHON, str(venv)], check=True)
        asked = ["-q", "--compile-bytecode", "-r", str(app.path / "requirements.txt")]
        python = str(venv / "bin" / "python")
        subprocess.run([uv, "pip", "install", "--python", python, *asked], check=True)
    port = free_port()
    command = _web_command(app)
    env = {"PATH": f"{venv / 'bin'}:/usr/bin:/bin", "PORT": str(port)}
    begun = time.monotonic()
    process = subprocess.Popen(
        ["/bin/bash", "-c", f"exec {command}"],
        cwd=app.path,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _first_answer(f"http://127.0.0.1:{port}/", {}, "version-")
        return time.monotonic() - begun
    finally:
        process.terminate()
        process.wait()


def _web_command(app: AppCopy) -> str:
    for line in (app.path / "Procfile").read_text().splitlines():
        if line.startswith("web:"):
            return line.removeprefix("web:").strip()
    raise SystemExit("the example has no web process")


def _bare_push_s(root: Path, app: AppCopy) -> float:
    bare = Path(tempfile.mkdtemp(dir=root)) / "bare.git"
    app.user.run("git", "init", "-q", "--bare", str(bare))
    begun = time.monotonic()
    app.user.run("git", "push", "-q", str(bare), "main", cwd=app.path)
    return time.monotonic() - begun


def _deploy_s(app: AppCopy, number: int) -> float:
    _version(app, number)
    begun = time.monotonic()
    process = app.begin_push()
    _first_answer(*_address(app), f"version-{number}\n", exact=True)
    took = time.monotonic() - begun
    process.communicate()
    app.settles("up", "web.1")
    return took


def _rollback_s(app: AppCopy) -> float:
    """To the release before, and what it says; the head alternates between two versions."""
    newest = app.json("releases")
    target = next(each for each in newest[1:] if each["slug"]["id"] != newest[0]["slug"]["id"])
    config = f"v{target['version']}"
    said = _said_by(app)
    begun = time.monotonic()
    argv = [str(Path(sys.executable).parent / "oriel"), "rollback", config]
    process = subprocess.Popen(
        argv, cwd=app.path, env=app.user.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    _changed_answer(*_address(app), said)
    took = time.monotonic() - begun
    process.communicate()
    app.settles("up", "web.1")
    return took


def _said_by(app: AppCopy) -> str:
    return app.answers("version-")


def _address(app: AppCopy) -> tuple[str, dict[str, str]]:
    port = app.user.platform.web_port
    return f"http://127.0.0.1:{port}/", {"Host": f"{app.name}.localhost"}


def _first_answer(url: str, headers: dict[str, str], text: str, *, exact: bool = False) -> None:
    wanted = text.strip()

    def ask() -> bool:
        said = _ask(url, headers)
        return wanted in said.split() if exact else wanted in said

    eventually(ask, within_s=60, what=f"{text!r} at {url}", pause_s=0.002)


def _changed_answer(url: str, headers: dict[str, str], before: str) -> None:
    def ask() -> bool:
        said = _ask(url, headers)
        return bool(said) and said != before

    eventually(ask, within_s=60, what=f"another answer at {url}", pause_s=0.002)


def _ask(url: str, headers: dict[str, str]) -> str:
    try:
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def _cpu_rows(platform: Platform, app: AppCopy, runs: int) -> list[Row]:
    bin_ = Path(sys.executable).parent
    env = app.user.env
    base = median(lambda: cpu_s([sys.executable, "-c", "pass"], env), runs)
    rows = []
    for command in ("ps", "releases"):
        argv = [str(bin_ / "oriel"), command, "-a", app.name]
        took = median(lambda argv=argv: cpu_s(argv, env), runs)  # type: ignore[misc]
        peers = _official(platform, app, command, runs) if command == "ps" else {}
        rows.append(
            Row(
                f"CPU of `oriel {command}`, in times of `python -c pass`",
                took / base,
                "x",
                "at most 8 x",
                took / base <= 8,
                {name: seconds / base for name, seconds in peers.items()},
            )
        )
    return rows


def _official(platform: Platform, app: AppCopy, command: str, runs: int) -> dict[str, float]:
    from tests.official.heroku import Heroku
    from tests.official.installation import Missing, installed

    try:
        home = app.user.home
        kept = next(home.rglob("credentials.json"))
        secret = credentials.token_for(str(kept), platform.api)
        heroku = Heroku(installed(), platform.api, home, secret)
    except Missing as missing:
        print(f"the official Heroku command line is left out: {missing}", file=sys.stderr)
        return {}
    argv = heroku.argv(command, "-a", app.name)
    return {f"heroku {command}": median(lambda: cpu_s(argv, heroku.env), max(3, runs // 3))}


if __name__ == "__main__":
    main()
