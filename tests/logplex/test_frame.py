"""RFC 5424, written and read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.logplex import frame
from tests.logplex.conftest import START_US

_word = st.text(min_size=1, max_size=20)
_name = st.from_regex(r"[A-Za-z0-9_.-]{1,32}", fullmatch=True).filter(lambda name: name != "id")


def test_a_platform_line_is_a_frame_that_grep_can_read() -> None:
    line = frame.platform(12, START_US, "heroku", "api", "Scale to web=4", data={"act": "7"})
    assert line == (
        b"<134>1 2011-06-19T08:35:19.000000+00:00 host heroku api - "
        b'[oriel id="12" act="7"] Scale to web=4\n'
    )


@given(
    number=st.integers(1, 2**63 - 1),
    text=st.text(max_size=60),
    severity=st.integers(0, 7),
    data=st.dictionaries(_name, st.text(max_size=20), max_size=3),
)
def test_what_is_written_is_read(
    number: int, text: str, severity: int, data: dict[str, str]
) -> None:
    line = frame.platform(number, START_US, "heroku", "web.1", text, severity, data)
    assert line.count(b"\n") == 1
    read = frame.parse(line)
    assert read
    assert (read.app, read.process, read.severity) == ("heroku", "web.1", severity)
    assert read.data["id"] == str(number)
    assert frame.last_id(line) == number
    if text.isprintable() and not text.startswith("\ufeff"):
        assert read.text.decode("utf-8", "replace") == text.encode("utf-8", "replace").decode()
    if all(value.isprintable() for value in data.values()):
        safe = {key: each.encode("utf-8", "replace").decode() for key, each in data.items()}
        assert {**read.data} == {"id": str(number), **safe}


@given(line=st.binary(max_size=200))
def test_any_bytes_are_taken(line: bytes) -> None:
    frame.parse(line)
    frame.channel_of(line)
    frame.last_id(line)
    frame.text_of(line)
    assert frame.one_line(line).count(b"\n") == 1


@given(line=st.binary(max_size=60), middle=st.sampled_from([b'[a b="', b"[oriel ", b"- ", b"]["]))
def test_what_begins_like_a_frame_is_taken(line: bytes, middle: bytes) -> None:
    frame.parse(b"<134>1 t h a p m " + middle + line)
    frame.channel_of(b"<134>1 t h a p m " + middle + line)


@pytest.mark.parametrize(
    ("line", "channel"),
    [
        (b'<158>1 t h haproxy 1 - [oriel channel="c-1"] at=info', "c-1"),
        (b'<158>1 t h haproxy 1 - [oriel ts="--" channel="c-1"] at=info', "c-1"),
        (b'<158>1 t h haproxy 1 - [oriel ts="--"] channel="c-1"', None),
        (b'<158>1 t h haproxy 1 - [other channel="c-1"] x', None),
        (b'<158>1 t h haproxy 1 - [oriel channel="../x"] x', None),
        (b'<158>1 t h haproxy 1 - [oriel channel="c-1', None),
        (b"hello", None),
        (b"", None),
    ],
)
def test_a_frame_is_routed_by_its_structured_data_only(line: bytes, channel: str | None) -> None:
    assert frame.channel_of(line) == channel


@pytest.mark.parametrize("line", [b"<192>1 t h a p m - x", b"<13>2 t h a p m - x", b"<13>1 t h"])
def test_what_is_no_frame_is_none(line: bytes) -> None:
    assert frame.parse(line) is None
    assert frame.text_of(line).endswith(line[-1:])


def test_heroku_samples() -> None:
    read = frame.parse(b'<13>1 t h a p m [a x="1\\]"][b y="\\"q\\""] said \xe2\x9c\x93\n')
    assert read
    assert read.data == {"x": "1]", "y": '"q"'}
    assert read.text == b"said \xe2\x9c\x93"
