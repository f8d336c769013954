from __future__ import annotations

import contextlib
import json
import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.cli import shellwords
from oriel.client.refusal import Refusal
from tests.cli.conftest import Oriel
from tests.client.stub import Stub

PATH = "/apps/foobaz/config-vars"


def released(stub: Stub, said: str, version: int = 11, **more: object) -> None:
    other = {"version": version + 1, "description": "Deploy 1234567", "status": "succeeded"}
    made = {"version": version, "description": said, "status": "succeeded", **more}
    stub.on("GET", "/apps/foobaz/releases", [other, made])


def test_add_as_the_seed_has_it(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", PATH, {"OTHER": "1"})
    stub.on("PATCH", PATH, {"OTHER": "1", "FOO": "baz"})
    released(stub, "Config add FOO")
    ended = oriel("config:add", "FOO=baz", "-a", "foobaz")
    assert ended.out == "Adding config vars:\n  FOO => baz\nRestarting app... done, v11\n"
    assert (ended.err, ended.code) == ("", 0)
    assert stub.calls("PATCH")[0].json == {"FOO": "baz"}


def test_several_with_long_values(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", PATH, {})
    stub.on("PATCH", PATH, {})
    released(stub, "Config add A, KEY")
    secret = "0123456789abcdef----middle----0123456789ABCDEF"
    ended = oriel("config:set", f"KEY={secret}", "A=b=c", "-a", "foobaz")
    assert ended.out.splitlines()[1:3] == [
        "  A   => b=c",
        "  KEY => 0123456789abcdef...0123456789ABCDEF",
    ]
    assert ended.out.endswith("done, v11\n")


def test_nothing_new_makes_no_release(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", PATH, {"FOO": "baz"})
    ended = oriel("config:add", "FOO=baz", "-a", "foobaz")
    assert ended.code == 0
    assert "Restarting" not in ended.out
    assert "nothing to do" in ended.err
    assert not stub.calls("PATCH")


def test_a_failed_release_says_so(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", PATH, {})
    stub.on("PATCH", PATH, {})
    released(stub, "Config add FOO", status="failed", oriel={"reason": "exited with status 3"})
    ended = oriel("config:add", "FOO=baz", "-a", "foobaz")
    assert ended.out.endswith("Restarting app... failed, v11\n")
    assert ended.code == 11


@pytest.mark.parametrize("word", ["FOO", "=x", "hunter2"])
def test_what_is_no_pair_is_not_repeated(oriel: Oriel, stub: Stub, word: str) -> None:
    ended = oriel("config:add", word, "-a", "foobaz")
    assert ended.code == 2
    assert "hunter2" not in ended.err
    assert stub.requests == []


def test_remove(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", PATH, {"FOO": "baz", "BAR": "1"})
    stub.on("PATCH", PATH, {})
    released(stub, "Config remove FOO", 12)
    ended = oriel("config:remove", "FOO", "NONE", "-a", "foobaz")
    assert ended.out == "Removing FOO and restarting app... done, v12\n"
    assert ended.err == "NONE is not set.\n"
    assert stub.calls("PATCH")[0].json == {"FOO": None}
    assert oriel("config:unset", "NONE", "-a", "foobaz").code == 4


def test_show(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", PATH, {"FOO": "baz", "LONGER": "two words", "PEM": "a\nb"})
    assert oriel("config", "-a", "foobaz").out == (
        "FOO    => baz\nLONGER => two words\nPEM    => a\nb\n"
    )
    shell = oriel("config", "-s", "-a", "foobaz").out
    assert shell == "FOO=baz\nLONGER='two words'\nPEM='a\nb'\n"
    assert json.loads(oriel("config", "-j", "-a", "foobaz").out)["PEM"] == "a\nb"
    stub.on("GET", PATH, {})
    assert oriel("config", "-a", "foobaz").err == "foobaz has no config vars.\n"


def test_get(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", PATH, {"FOO": "two words"})
    ended = oriel("config:get", "FOO", "NONE", "-a", "foobaz")
    assert (ended.out, ended.err, ended.code) == ("two words\n\n", "NONE is not set.\n", 0)
    assert oriel("config:get", "FOO", "-s", "-a", "foobaz").out == "FOO='two words'\n"


def test_import_from_the_other_command_line(oriel: Oriel, stub: Stub) -> None:
    heroku = (
        "PLAIN=a-b.c/d\nSPACED='two words'\nSLASH='a\\\\b'\nQUOTE=\"it's\"\n"
        "LINES=\"one\\ntwo \\$HOME \\!\"\nEMPTY=\n# note\nexport URL='postgres://a:b@c/d?e=f'\r\n"
    )
    stub.on("GET", PATH, {})
    stub.on("PATCH", PATH, {})
    released(stub, "Config add PLAIN, SPACED, SLASH, QUOTE, LINES, EMPTY, URL")
    assert oriel("config:import", "-a", "foobaz", stdin=heroku).code == 0
    assert stub.calls("PATCH")[0].json == {
        "PLAIN": "a-b.c/d",
        "SPACED": "two words",
        "SLASH": "a\\b",
        "QUOTE": "it's",
        "LINES": "one\ntwo $HOME !",
        "EMPTY": "",
        "URL": "postgres://a:b@c/d?e=f",
    }


def test_import_json(oriel: Oriel, stub: Stub) -> None:
    stub.on("GET", PATH, {})
    stub.on("PATCH", PATH, {})
    released(stub, "Config add A")
    oriel("config:import", "-a", "foobaz", stdin='{"A": "b\\nc"}')
    assert stub.calls("PATCH")[0].json == {"A": "b\nc"}
    for wrong in ('{"A": 1}', '{"A"', "{" * 100_000):
        assert oriel("config:import", "-a", "foobaz", stdin=wrong).code == 3


@pytest.mark.parametrize(
    "text", ["A='x", 'A="x', "A=x y", "two words", "1A=x", "=x", b"A=\xff", "A=" + "x" * (1 << 20)]
)
def test_import_refuses_what_it_cannot_read(oriel: Oriel, stub: Stub, text: str | bytes) -> None:
    ended = oriel("config:import", "-a", "foobaz", stdin=text)
    assert ended.code == 3
    assert ended.err.startswith(" !    ")
    assert stub.requests == []


def test_import_of_nothing(oriel: Oriel, stub: Stub) -> None:
    ended = oriel("config:import", "-a", "foobaz", stdin="\n# only a note\n")
    assert (ended.code, ended.err) == (0, "There is nothing to import.\n")


# What an environment can hold: no NUL, no lone surrogates.
VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
KEYS = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True)
AWKWARD = st.text("'\"\\$`!\n\r\t ~#=an{}*;&|", max_size=16)


@given(st.dictionaries(KEYS, VALUES | AWKWARD, max_size=5))
def test_what_is_printed_for_a_shell_is_imported_as_it_was(values: dict[str, str]) -> None:
    assert shellwords.parse("\n".join(shellwords.lines(values))) == values


def test_a_shell_reads_the_same() -> None:
    awkward = ["", "a b", "it's", 'say "x"', "\\", "\\\\", "\\n", "$HOME", "`id`", "a\nb", "!x",
               "~", "~root", "*", "#x", "'\\'", "a=b", "\t", "é漢", "'!'", "\\!'"]  # fmt: skip
    values = {f"V{at:02}": value for at, value in enumerate(awkward)}
    script = "\n".join(shellwords.lines(values))
    script += "".join(f"\nprintf '%s\\0' \"$V{at:02}\"" for at in range(len(awkward)))
    done = subprocess.run(
        ["sh"],
        input=script.encode(),
        capture_output=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.stdout.decode().split("\0")[:-1] == awkward


@given(st.text(max_size=60) | AWKWARD.map(lambda value: f"A={value}"))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(Refusal):
        assert all(key.isidentifier() for key in shellwords.parse(text))
