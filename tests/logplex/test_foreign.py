"""Lines of others: BSD forms as daemons send them, and frames without structured data."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oriel.logplex import foreign
from oriel.logplex.foreign import Foreign


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            b"<134>Oct 11 22:14:15 box redis[1234]: Ready to accept",
            (134, "Oct 11 22:14:15", "box", "redis", "1234", b"Ready to accept"),
        ),
        (
            b"<30>Oct  1 22:14:15 memcached: <10 new client",
            (30, "Oct  1 22:14:15", "", "memcached", "", b"<10 new client"),
        ),
        (
            b"<134>Oct 11 22:14:15 box postgres[99]: [3-1] LOG:  up: yes",
            (134, "Oct 11 22:14:15", "box", "postgres", "99", b"[3-1] LOG:  up: yes"),
        ),
        (
            b"<5>2020-01-01T00:00:00.123456+00:00 box a[1]: x",
            (5, "2020-01-01T00:00:00.123456+00:00", "box", "a", "1", b"x"),
        ),
        (b"<13>Oct 11 22:14:15 box su:", (13, "Oct 11 22:14:15", "box", "su", "", b"")),
        (b"<13>Oct 11 22:14:15 no tag here", (13, "Oct 11 22:14:15", "", "", "", b"no tag here")),
        (b"<13>two words: no host", (13, "", "", "", "", b"two words: no host")),
        (
            b"<158>1 2020-01-01T00:00:00Z host heroku router - at=info path=/",
            (158, "2020-01-01T00:00:00Z", "host", "heroku", "router", b"at=info path=/"),
        ),
    ],
)
def test_what_a_line_says(line: bytes, said: tuple[object, ...]) -> None:
    assert foreign.parse(line) == said


@pytest.mark.parametrize("line", [b"", b"text", b"<192>x", b"<013>x", b"<>x", b"<13", b" <13>x"])
def test_a_line_without_a_priority_is_only_text(line: bytes) -> None:
    assert foreign.parse(line) is None


PIECES = st.sampled_from(
    [b"<13>", b"<190>1 ", b"Oct 11 22:14:15 ", b"box ", b"redis[1]: ", b"a: ", b":", b"[", b"- "]
)


@settings(deadline=None)
@given(st.lists(st.one_of(PIECES, st.binary(max_size=9)), max_size=12).map(b"".join))
def test_any_line_is_read_and_its_text_is_its_end(line: bytes) -> None:
    said = foreign.parse(line)
    assert said is None or isinstance(said, Foreign)
    if said:
        assert line.endswith(said.text)
        assert 0 <= said.priority <= 191
