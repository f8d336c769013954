from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.builder import procfile
from oriel.faults import Invalid
from oriel.lexicon import RESERVED_PROCESS_TYPES, ProcessType


@pytest.mark.parametrize(
    ("text", "types"),
    [
        ("web: gunicorn app:app", {"web": "gunicorn app:app"}),
        ("web:x\nworker:   y z  \n", {"web": "x", "worker": "y z"}),
        ("# a comment\n\n  \nweb: x # kept\n", {"web": "x # kept"}),
        ("\ufeffweb: x\r\nworker: y\r\n", {"web": "x", "worker": "y"}),
        ("release: ./migrate\nweb: x", {"release": "./migrate", "web": "x"}),
        ("z: 1\na: 2", {"z": "1", "a": "2"}),
        ("web : x", {"web": "x"}),
        ("my-type_2: caf\u00e9", {"my-type_2": "caf\u00e9"}),
    ],
)
def test_reads(text: str, types: dict[str, str]) -> None:
    assert list(procfile.parse(text.encode()).items()) == list(types.items())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("web", "Procfile:1: expected TYPE: COMMAND, not 'web'"),
        ("web: x\n\n???", "Procfile:3: expected TYPE: COMMAND, not '???'"),
        (": x", "Procfile:1: expected TYPE: COMMAND"),
        ("web:\n", "Procfile:1: process type web has no command"),
        ("web: x\nweb: y", "Procfile:2: process type web is declared twice (first on line 1)"),
        ("we b: x", "Procfile:1: process type 'we b' is not allowed"),
        ("a/b: x", "Procfile:1: process type 'a/b' is not allowed"),
        ("web: x\x1b[2J", "Procfile:1: the command of web holds a control character"),
        ("web: x\x00", "Procfile:1: the command of web holds a control character"),
        ("web: " + "x" * 9000, "Procfile:1: the command of web is longer than"),
        ("w" * 129 + ": x", "Procfile:1: a process type has at most 128 characters"),
        ("", "Procfile declares no process type."),
        ("# only this", "Procfile declares no process type."),
        ("\n".join(f"t{n}: x" for n in range(101)), "101 process types are more than 100"),
        ("x\n" * 9, "and 4 more mistakes"),
        *[
            (f"web: x\n{name}: y", f"Procfile:2: process type {name} is reserved")
            for name in sorted(RESERVED_PROCESS_TYPES)
        ],
        ("Router: y", "Procfile:1: process type Router is reserved"),
    ],
)
def test_refuses_with_file_and_line(text: str, says: str) -> None:
    with pytest.raises(Invalid) as caught:
        procfile.parse(text.encode())
    assert says in caught.value.message
    assert caught.value.message.isascii()


def test_refuses_what_is_not_utf8_and_what_is_too_large() -> None:
    with pytest.raises(Invalid, match="Procfile:2: this is not UTF-8"):
        procfile.parse(b"web: x\nworker: \xff")
    with pytest.raises(Invalid, match="larger than 64 KiB"):
        procfile.parse(b"#" * 70_000)


def test_names_every_mistake_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        procfile.parse(b"web\nworker: x\nworker: y\n")
    assert [line.split(" ")[0] for line in caught.value.message.splitlines()] == [
        "Procfile:1:",
        "Procfile:3:",
    ]


@given(
    st.binary(max_size=200) | st.text(alphabet="web: \n\r\t#-x\x00é", max_size=60).map(str.encode)
)
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        types = procfile.parse(content)
    except Invalid:
        return
    assert types
    for name, command in types.items():
        assert ProcessType(name) == name
        assert command == command.strip(" \t")
        assert command
        assert "\n" not in command
        assert "\0" not in command
