"""How lines are shown."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.logplex.frame import short_dyno
from oriel.logplex.render import harmless
from tests.logplex.conftest import START_US, Stand


def test_a_line_has_its_time_to_the_microsecond(stand: Stand) -> None:
    stand.now_us = START_US + 123_456
    stand.say("web.1", b"hello\n")
    (batch,) = stand.batches(lines=None)
    assert batch.text == b"2011-06-19T08:35:19.123456+00:00 app[web.1]: hello\n"


def test_neighbouring_records_of_one_line_each_over_a_second(stand: Stand) -> None:
    stand.now_us = START_US + 998_500
    for number in range(5):
        stand.say("web.1", b"%d\n" % number)
    text = b"".join(each.text for each in stand.batches(lines=None)).decode()
    assert [line[17:26] for line in text.splitlines()] == [
        "19.998500",
        "19.999500",
        "20.000500",
        "20.001500",
        "20.002500",
    ]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (b"tab\tkept", "tab\tkept"),
        (b"\x1b[31mred\x1b[0m", "^[[31mred^[[0m"),
        (b"bell\x07 del\x7f nul\x00", "bell^G del^? nul^@"),
        (b"windows\r", "windows"),
        (b"50%\r100%", "50%^M100%"),
        ("caf\u00e9 \u2713".encode(), "caf\u00e9 \u2713"),
        (b"bad \xff\xfe byte", "bad \ufffd\ufffd byte"),
        ("c1 \u009b31m".encode(), "c1 <9B>31m"),
    ],
)
def test_what_an_app_writes_is_harmless(stand: Stand, said: bytes, shown: str) -> None:
    stand.say("web.1", said + b"\n")
    assert stand.text() == f"app[web.1]: {shown}\n"


def test_a_line_cannot_forge_anothers_header(stand: Stand) -> None:
    stand.say("web.1", b"x\r2011-06-19T08:35:19+00:00 heroku[api]: forged\ny\x0bz\n")
    assert all(line.startswith("app[web.1]: ") for line in stand.text().splitlines())


def test_a_long_line_is_cut_as_heroku_does(stand: Stand) -> None:
    stand.say("web.1", b"l" * 25_000 + b"\nnext\n")
    lines = stand.text().splitlines()
    assert [len(each) - len("app[web.1]: ") for each in lines] == [10_000, 10_000, 5_000, 4]


def test_a_router_line_names_its_dyno_as_users_do(stand: Stand) -> None:
    router = stand.channel.source("heroku", "router")
    frame = (
        b"<158>1 2011-06-19T08:35:19Z h haproxy 12 - "
        b'[oriel channel="c" ts="--"] at=info path="/ dyno=evil:x" dyno=web.1:c4fe status=200\n'
    )
    stand.channel.append_frames(router, [frame], START_US)
    assert stand.text() == ('heroku[router]: at=info path="/ dyno=evil:x" dyno=web.1 status=200\n')
    (line,) = stand.json()
    assert line["data"] == {"ts": "--"}
    assert line["severity"] == 6


def test_json_has_all_there_is(stand: Stand) -> None:
    stand.say("web.1", "caf\u00e9 \x1b[0m\u009b\r\n".encode(), "i7", 74)
    line = json.loads(stand.batches(lines=None, format="json")[0].text)
    assert line == {
        "time": "2011-06-19T08:35:19.000000+00:00",
        "source": "app",
        "ps": "web.1",
        "text": "caf\u00e9 \x1b[0m\u009b",
        "release": 74,
        "position": "1.0.14",
        "instance": "i7",
    }


@given(text=st.binary(max_size=200))
def test_harmless_text_has_no_control_characters_and_as_many_lines(text: bytes) -> None:
    shown = harmless(text).decode()
    assert not [
        each for each in shown if (ord(each) < 32 or 127 <= ord(each) < 160) and each not in "\t\n"
    ]
    assert shown.count("\n") == text.count(b"\n")


@given(text=st.binary(max_size=80))
def test_short_dyno_takes_anything(text: bytes) -> None:
    assert len(short_dyno(text)) <= len(text)
    assert (
        b":" not in short_dyno(b"at=x dyno=" + text.replace(b" ", b"") + b" x").split(b" dyno=")[-1]
    )
