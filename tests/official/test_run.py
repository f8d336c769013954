"""`heroku run` by the official program (contract section 2.7): TLS by an authority that it was told
of, at a terminal and in a pipe, detached, inside a dyno, and stopped.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from .heroku import Heroku, eventually
from .place import Place
from .test_login import Terminal


@pytest.fixture(scope="module")
def app(oriel: Place) -> str:
    oriel.app("ran", "one")
    oriel.wait_up("ran", "web.1")
    return "ran"


@pytest.fixture(scope="module")
def trusting(heroku: Heroku, oriel: Place, tmp_path_factory: pytest.TempPathFactory) -> Heroku:
    """Ned, who was told of Oriel's authority."""
    path: Path = tmp_path_factory.mktemp("ca") / "oriel-ca.pem"
    path.write_text(oriel.ask("GET", "/oriel/authority")["certificate"])
    return replace(heroku, more={**heroku.more, "NODE_EXTRA_CA_CERTS": str(path)})


def one_off(oriel: Place, app: str) -> str:
    def found() -> str:
        names = [each["name"] for each in oriel.ask("GET", f"/apps/{app}/dynos")]
        return next((name for name in names if name.startswith("run.")), "")

    return str(eventually(found, "a one-off dyno"))


def test_run_and_its_exit_codes(trusting: Heroku, app: str) -> None:
    assert trusting("run", "-a", app, "echo hello; echo $DYNO").out.startswith("hello\nrun.")
    ran = trusting("run", "-x", "-a", app, "echo hello; false", check=False)
    assert (ran.code, ran.out) == (1, "hello\n"), str(ran)
    assert "Process exited with code 1" in ran.err
    # The command ends before it comes to tell its status: the server tells it.
    ran = trusting("run", "-x", "-a", app, "echo hello; exit 9", check=False)
    assert (ran.code, ran.out) == (9, "hello\n"), str(ran)
    assert trusting("run", "-x", "-a", app, "seq 20000").out.splitlines()[-1] == "20000"


def test_run_in_a_pipe(trusting: Heroku, app: str) -> None:
    assert trusting("run", "--no-tty", "-a", app, "cat", stdin="hi\n").out == "hi\n"
    text = "".join(f"line {number}\n" for number in range(20_000))
    assert trusting("run", "--no-tty", "-a", app, "cat", stdin=text).out == text


def test_run_at_a_terminal(trusting: Heroku, app: str) -> None:
    terminal = Terminal(trusting, "run", "-a", app, "bash --norc")
    try:
        terminal.wait_for("$ ")
        terminal.type("tty; echo $((6 * 7))")
        terminal.wait_for("/dev/console")
        terminal.wait_for("42")
        terminal.type("exit")
    except BaseException:
        terminal.kill()
        raise
    assert terminal.end() == 0, terminal.seen


def test_run_detached(trusting: Heroku, app: str, oriel: Place) -> None:
    ran = trusting("run:detached", "-a", app, "echo from afar; sleep 1")
    name = re.search(r"run\.\d{4}", ran.out + ran.err)
    assert name, str(ran)

    def told() -> str:
        out = trusting("logs", "-a", app, "--dyno", name[0]).out
        return out if f"app[{name[0]}]: from afar" in out else ""

    assert "Starting process with command `echo from afar; sleep 1`" in eventually(told, "its line")


def test_it_is_shown_and_stopped(trusting: Heroku, app: str, oriel: Place) -> None:
    terminal = Terminal(trusting, "run", "-a", app, "bash --norc")
    try:
        terminal.wait_for("$ ")
        name = one_off(oriel, app)
        assert name in trusting("ps", "-a", app).out
        trusting("ps:stop", name, "-a", app)
    except BaseException:
        terminal.kill()
        raise
    terminal.end()
    names = [each["name"] for each in oriel.ask("GET", f"/apps/{app}/dynos")]
    assert name not in names


def test_run_inside_a_dyno(trusting: Heroku, app: str) -> None:
    ran = trusting("run:inside", "web.1", "-a", app, "--", "echo $DYNO; ls")
    assert ran.out.split()[:2] == ["web.1", "Procfile"], str(ran)


def test_who_was_not_told_of_the_authority_is_not_attached(heroku: Heroku, app: str) -> None:
    ran = heroku("run", "-a", app, "echo hello", check=False)
    assert ran.code == 1
    assert "hello" not in ran.out
