"""The cases of Heroku Logplex's own tests (heroku-facts B8) that concern a black box, and ours.

1, 6 (health) and 10 (credentials, channels) over HTTP are in `test_posts.py`; 3, 8 and 9 are the
drains'. Those that need an HTTP API for channels, tokens and sessions are asked at our socket.
No counterpart here: 2's and 3's statuses (there is no such HTTP API, nor modes), 5's conversion
to HTTP frames (sessions give lines), 6's and 7's sessions by URL (control has them), 10's flags
(no history, deny tails, deny drains).
"""

from __future__ import annotations

import asyncio
import json

import pytest

from oriel import faults
from oriel.logplex import frame
from oriel.logplex.client import Query
from oriel.logplex.inlets.framing import key_of
from tests.logplex.inlets.conftest import Bench, Play, counted, packet

TCP = ("syslog", "127.0.0.1:0")


def test_b8_2_channels_create_get_delete(play: Play) -> None:
    async def story(bench: Bench) -> None:
        client = bench.client
        assert await client.create_channel("app-1")
        assert not await client.create_channel("app-1")
        first = await client.create_token("app-1", "app")
        await client.create_token("app-1", "heroku")
        assert [each["name"] for each in await client.tokens("app-1")] == ["app", "heroku"]
        assert await client.revoke_token(first["id"])
        assert [each["name"] for each in await client.tokens("app-1")] == ["heroku"]
        await client.forget("app-1")
        assert await client.channels() == []
        assert await client.tokens() == []
        for wrong in ("", "../x", "a b", "x" * 65):
            with pytest.raises(faults.Invalid):
                await client.create_channel(wrong)

    play(story)


def test_b8_4_tokens_create_missing_name_and_unknown_channel(play: Play) -> None:
    async def story(bench: Bench) -> None:
        token = await bench.token("c", "app")
        assert token.startswith("t.")
        assert len(token) == 38
        with pytest.raises(faults.Invalid):
            await bench.client.create_token("c", "")
        with pytest.raises(faults.NotFound):
            await bench.client.create_token("nobody", "app")

    play(story)


def test_b8_5_logs_num_above_stock_returns_all_and_an_unparsable_packet_is_not_lost(
    play: Play,
) -> None:
    """Theirs drops what it cannot parse and gives one line too many; ours does neither."""

    async def story(bench: Bench) -> None:
        token = await bench.token()
        frames = [packet(token, f"n{number}") for number in range(4)]
        await bench.send("syslog", counted(*frames, f"<13>1 t h {token} web.1".encode()))
        await bench.until("syslog", frames=5)
        assert len(await bench.read(lines=100)) == 5
        said = await bench.read(lines=3)
        assert said[:2] == ["app[web.1]: n2", "app[web.1]: n3"]
        assert said[2].endswith(f"t h {token} web.1")

    play(story, TCP)


def test_b8_7_channel_ids_that_are_numbers(play: Play) -> None:
    async def story(bench: Bench) -> None:
        token = await bench.token("1234")
        await bench.send("syslog", counted(packet(token, "x")))
        await bench.until("syslog", frames=1)
        assert await bench.read("1234") == ["app[web.1]: x"]

    play(story, TCP)


def test_b8_10_message_history_limit_drops_nothing_by_lines(play: Play) -> None:
    """Theirs keeps 1 501 lines; ours keeps bytes and days."""

    async def story(bench: Bench) -> None:
        token = await bench.token()
        await bench.send(
            "syslog", counted(*[packet(token, f"n{number}") for number in range(5000)])
        )
        await bench.until("syslog", frames=5000)
        assert len(await bench.read()) == 5000

    play(story, TCP)


SAMPLES = [
    (b"<13>1 2011-01-01T00:00:00Z host app web.1 - - hi", "app", "web.1", b"hi", {}),
    (b"<40>1 t host heroku api - - Deploy", "heroku", "api", b"Deploy", {}),
    (b"<158>1 t host heroku router - - at=info", "heroku", "router", b"at=info", {}),
    (b'<134>1 t h a p m [x@1 k="v"] said', "a", "p", b"said", {"k": "v"}),
    (b'<134>1 t h a p m [x k="\\]"] said', "a", "p", b"said", {"k": "]"}),
    (b'<134>1 t h a p m [x k="1"][y l="2"] said', "a", "p", b"said", {"k": "1", "l": "2"}),
    (b"<134>1 t h a p m - ", "a", "p", b"", {}),
    (b"<134>1 t h a p m - \xef\xbb\xbfbom", "a", "p", b"bom", {}),
    (b"<134>1 t - - - - - x", "-", "-", b"x", {}),
]


@pytest.mark.parametrize(("line", "app", "process", "text", "data"), SAMPLES)
def test_b8_11_parsers_sample_packets(
    line: bytes, app: str, process: str, text: bytes, data: dict[str, str]
) -> None:
    read = frame.parse(line)
    assert read
    assert (read.app, read.process, read.text, dict(read.data)) == (app, process, text, data)
    assert key_of(line)[0].split(b" ")[1:] == [app.encode(), process.encode()]


@pytest.mark.parametrize(
    ("priority", "facility", "severity"), [(158, 19, 6), (13, 1, 5), (134, 16, 6)]
)
def test_b8_11_parsers_priority_is_facility_and_severity(
    play: Play, priority: int, facility: int, severity: int
) -> None:
    async def story(bench: Bench) -> None:
        token = await bench.token()
        await bench.send("syslog", counted(packet(token, "x", priority=priority)))
        await bench.until("syslog", frames=1)
        (batch,) = [each async for each in bench.client.read("c", Query(format="json"))]
        line = json.loads(batch.text)
        assert (line["facility"], line["severity"]) == (facility, severity)

    play(story, TCP)


def test_b8_11_tcp_accepts_framed_and_unlike_theirs_newlines_too(play: Play) -> None:
    async def story(bench: Bench) -> None:
        token = await bench.token()
        await bench.send("syslog", counted(packet(token, "counted")))
        await bench.until("syslog", frames=1)
        await bench.send("syslog", packet(token, "in a line") + b"\n")
        await bench.until("syslog", frames=2)
        assert await bench.read() == ["app[web.1]: counted", "app[web.1]: in a line"]
        tail = bench.client.read("c", Query(lines=0, tail=True))
        following = asyncio.ensure_future(_first(tail))
        while (await bench.client.status())["connections"] < 2:
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.02)
        await bench.send("syslog", counted(packet(token, "live")))
        assert (await following).endswith(b"app[web.1]: live\n")
        await tail.aclose()

    play(story, TCP)


async def _first(tail: object) -> bytes:
    async for batch in tail:  # type: ignore[attr-defined]
        if batch.text:
            return bytes(batch.text)
    return b""
