"""The router's line made whole: codes from termination states, and nothing that can be forged."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.logplex.requests import CODES, whole


def raw(
    *,
    server: str = "web.1:c4fe0123",
    ts: str = "--",
    own: str = "-",
    path: bytes = b"/",
    status: int = 200,
    took: str = "connect=1ms service=2ms",
) -> bytes:
    return (
        (
            f'<158>1 2026-11-27T18:17:00+00:00 oriel router 9 - [oriel channel="c"'
            f' server="{server}"'
            f' ts="{ts}" own="{own}" n="7"] at=info method=GET path="'
        ).encode()
        + path
        + (
            f'" host=a.localhost request_id=r-1 fwd="1.2.3.4" dyno={server.split(":")[0]} {took}'
            f" status={status} bytes=10 protocol=http1.1 tls=false"
        ).encode()
    )


def said(**changes: object) -> str:
    line = whole(raw(**changes)).decode()  # type: ignore[arg-type]
    assert line.endswith("\n")
    return line.partition("] ")[2].strip()


def test_a_request_that_went_well_is_stored_as_it_came() -> None:
    assert whole(raw()) == raw() + b"\n"


@pytest.mark.parametrize(
    ("server", "ts", "own", "status", "begins"),
    [
        ("web.1:c4", "sH", "504", 503, 'at=error code=H12 desc="Request timeout" method=GET'),
        ("web.1:c4", "SH", "502", 503, "at=error code=H13 "),
        ("web.1:c4", "PH", "502", 503, "at=error code=H17 "),
        ("web.1:c4", "SD", "-", 200, "sock=backend at=error code=H18 "),
        ("web.1:c4", "sD", "-", 200, "at=error code=H15 "),
        ("web.1:c4", "SC", "503", 503, "at=error code=H21 "),
        ("web.1:c4", "sC", "503", 503, "at=error code=H19 "),
        ("<NOSRV>", "SC", "503:2:web.2", 503, "at=error code=H21 "),
        ("<NOSRV>", "SC", "503:0:web.2", 503, "at=error code=H99 "),
        ("<NOSRV>", "sQ", "503:0:", 503, "at=error code=H99 "),
        ("<NOSRV>", "LR", "H80", 503, 'at=info code=H80 desc="Maintenance mode" '),
        ("<NOSRV>", "LR", "H81", 502, "at=info code=H81 "),
        ("<NOSRV>", "LR", "-", 301, "at=info method=GET"),
        ("web.1:c4", "CD", "-", 200, "sock=client at=warning code=H27 "),
        ("web.1:c4", "cD", "-", 200, "sock=client at=warning code=H28 "),
        ("web.1:c4", "CD", "-", 101, "at=info method"),
        ("web.1:c4", "sD", "-", 101, "at=error code=H15 "),
        ("web.1:c4", "PD", "400", 400, 'at=error code=H26 desc="Request Error" cause="bad chunk"'),
        ("<NOSRV>", "PR", "400", 400, 'at=error code=H26 desc="Request Error" cause="bad header"'),
        ("<NOSRV>", "RC", "503", 503, "at=error code=H99 "),
        ("<NOSRV>", "IH", "500", 503, "at=error code=H99 "),
    ],
)
def test_how_a_request_ended_gives_its_code(
    server: str, ts: str, own: str, status: int, begins: str
) -> None:
    line = said(server=server, ts=ts, own=own, status=status)
    assert line.startswith(begins)
    code = re.search(r"code=(H\d\d)", line)
    if code and code[1] != "H26":
        assert f" status={CODES[code[1]].status} " in line


def test_a_connection_that_was_refused_names_the_dyno_that_it_can_only_have_been() -> None:
    line = said(server="<NOSRV>", ts="SC", own="503:2:web.2", status=503)
    assert " dyno=web.2 connect=2ms service= " in line
    line = said(server="<NOSRV>", ts="LR", own="H10", took="connect=-1ms service=-ms", status=503)
    assert " dyno= connect= service= status=503 " in line


@given(st.binary(max_size=200).map(lambda each: each.replace(b"\n", b"")))
def test_no_path_ends_its_field(path: bytes) -> None:
    line = whole(raw(path=b"/" + path))
    shown = line[line.index(b'path="') + 6 :]
    assert shown[shown.index(b'"') :].startswith(b'" host=a.localhost request_id=r-1 fwd="1.2.3.4"')
    assert line.isascii()
    assert line.count(b"\n") == 1


@given(st.binary(max_size=300).map(lambda each: each.replace(b"\n", b"")))
def test_anything_else_is_kept_as_it_came(line: bytes) -> None:
    assert whole(line) == line + b"\n"


def test_a_path_cannot_pretend_to_be_the_rest_of_the_line() -> None:
    forged = (
        b'/" host=evil request_id=x fwd="" dyno=web.9 connect=0ms service=0ms status=200 bytes=1'
    )
    line = said(path=forged)
    assert " host=a.localhost " in line
    assert " host=evil" not in line.replace("%20", " ").split('" host=a.localhost')[1]
    assert "%22%20host=evil" in line
