"""The door: operations, refusals, tails, and the client on the other side."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from oriel import faults
from oriel.clock import SystemClock
from oriel.logplex import wire
from oriel.logplex.client import Logplex, Query
from oriel.logplex.limits import Limits
from oriel.logplex.process import SOCKET, serve


def _act(number: int, text: str = "x", ps: str = "api") -> dict[str, object]:
    return {"id": number, "source": "heroku", "ps": ps, "text": text}


def _play(tmp_path: Path, story: Callable[[Logplex], Awaitable[None]]) -> None:
    async def played() -> None:
        task = asyncio.create_task(serve(tmp_path, None, limits=Limits(sync_interval_s=0.01)))
        client = Logplex(tmp_path / SOCKET)
        while not (tmp_path / SOCKET).exists():
            assert not task.done() or task.result()
            await asyncio.sleep(0.001)
        try:
            await asyncio.wait_for(story(client), 30)
        finally:
            await client.close()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(played())


async def _raw(tmp_path: Path, *lines: bytes) -> list[dict[str, object]]:
    with wire.address(tmp_path / SOCKET) as name:
        reader, writer = await asyncio.open_unix_connection(name)
    writer.write(b"".join(each + b"\n" for each in lines))
    writer.write_eof()
    answers = (await reader.read()).splitlines()
    writer.close()
    await writer.wait_closed()
    return [json.loads(each) for each in answers]


def test_lines_are_answered_for_and_can_be_read(tmp_path: Path) -> None:
    async def story(client: Logplex) -> None:
        assert await client.append("c", [_act(1, "one"), _act(2, "two", "web.1")]) == 2
        assert await client.append("c", [_act(2), _act(3, "three")]) == 3
        said = [each async for each in client.read("c", Query(lines=2, format="json"))]
        lines = [json.loads(line) for each in said for line in each.text.splitlines()]
        assert [(each["ps"], each["text"]) for each in lines] == [
            ("web.1", "two"),
            ("api", "three"),
        ]
        assert sum(each.lines for each in said) == 2
        after = lines[0]["position"]
        (batch,) = [each async for each in client.read("c", Query(after=after))]
        assert batch.text.endswith(b"heroku[api]: three\n")

    _play(tmp_path, story)


def test_the_socket_is_ours_alone(tmp_path: Path) -> None:
    async def story(client: Logplex) -> None:
        assert (tmp_path / SOCKET).stat().st_mode & 0o777 == 0o600
        status = await client.status()
        assert status["sources"] == 0
        assert status["router"]["port"] > 0

    _play(tmp_path, story)


@pytest.mark.parametrize(
    ("request_", "refusal"),
    [
        (b"rubbish", "bad_request"),
        (b"[1]", "bad_request"),
        (b"\xff\xfe", "bad_request"),
        (b'{"op":"fly"}', "bad_request"),
        (b'{"op":["a"]}', "bad_request"),
        (b'{"op":"open","instance":"../x"}', "invalid_params"),
        (b'{"op":"open","instance":"nobody"}', "not_found"),
        (b'{"op":"append","channel":"../x","lines":[]}', "invalid_params"),
        (b'{"op":"append","channel":"c","lines":{}}', "invalid_params"),
        (b'{"op":"append","channel":"c","lines":[7]}', "invalid_params"),
        (b'{"op":"append","channel":"c","lines":[{"id":0}]}', "invalid_params"),
        (
            b'{"op":"append","channel":"c","lines":[{"id":1,"source":"x","ps":"a","text":"t"}]}',
            "invalid_params",
        ),
        (b'{"op":"forget","channel":".."}', "invalid_params"),
        (b'{"op":"read","channel":"c","lines":-1}', "invalid_params"),
        (b'{"op":"read","channel":"c","after":"x"}', "invalid_params"),
        (b'{"op":"read","channel":"c","format":"xml"}', "invalid_params"),
    ],
)
def test_what_cannot_be_done_is_refused_and_the_connection_goes_on(
    tmp_path: Path, request_: bytes, refusal: str
) -> None:
    async def story(client: Logplex) -> None:
        refused, then = await _raw(tmp_path, request_, b'{"op":"status"}')
        assert (refused["ok"], refused["id"]) == (False, refusal)
        assert refused["message"]
        assert then["ok"]

    _play(tmp_path, story)


def test_a_tail_shows_each_line_at_once_and_ends_when_it_is_cancelled(tmp_path: Path) -> None:
    async def story(client: Logplex) -> None:
        await client.append("c", [_act(1, "old")])
        tail = client.read("c", Query(lines=1, tail=True))
        begins = await anext(tail)
        assert (begins.position, begins.text) == ("1.0.0", b"")
        assert (await anext(tail)).text.endswith(b"old\n")
        for number in range(2, 6):
            await client.append("c", [_act(number, f"new {number}")])
            assert (await anext(tail)).text.endswith(b"new %d\n" % number)
        assert (await client.status())["connections"] == 2
        await tail.aclose()
        while (await client.status())["connections"] != 1:
            await asyncio.sleep(0.001)

    _play(tmp_path, story)


def test_a_forgotten_channel_ends_its_tails_and_begins_anew(tmp_path: Path) -> None:
    async def story(client: Logplex) -> None:
        await client.append("c", [_act(1, "old")])
        tail = client.read("c", Query(lines=1, tail=True))
        assert not (await anext(tail)).text
        assert (await anext(tail)).text
        waiting = asyncio.ensure_future(anext(tail, None))
        await client.forget("c")
        assert await waiting is None
        await client.forget("c")
        assert await client.append("c", [_act(1, "new")]) == 1
        said = [each.text async for each in client.read("c", Query())]
        assert len(said) == 1

    _play(tmp_path, story)


def test_a_reader_that_does_not_read_holds_up_nobody(tmp_path: Path) -> None:
    async def story(client: Logplex) -> None:
        text = "y" * 9000
        for number in range(0, 900, 90):
            await client.append("c", [_act(number + at + 1, text) for at in range(90)])
        with wire.address(tmp_path / SOCKET) as name:
            _, stuck = await asyncio.open_unix_connection(name, limit=1000)
        stuck.write(b'{"op":"read","channel":"c","lines":null,"tail":true}\n')
        for number in range(1000, 1050):
            await client.append("c", [_act(number)])
        lines = 0
        async for batch in client.read("c", Query(lines=None)):
            lines += batch.lines
        assert lines == 950
        stuck.close()
        await stuck.wait_closed()

    _play(tmp_path, story)


def test_a_client_says_when_nobody_is_there(tmp_path: Path) -> None:
    async def story() -> None:
        client = Logplex(tmp_path / "none.sock")
        with pytest.raises(faults.Unavailable):
            await client.status()
        with pytest.raises(faults.Unavailable):
            await anext(client.read("c", Query()))

    asyncio.run(story())


def test_a_long_path_of_the_socket_is_no_hindrance(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)

    async def story(client: Logplex) -> None:
        assert await client.append("c", [_act(1)]) == 1

    _play(deep, story)


def test_idle_channels_are_closed_and_opened_again(tmp_path: Path) -> None:
    async def played() -> None:
        limits = Limits(sync_interval_s=0.01, idle_close_s=0.0)
        task = asyncio.create_task(serve(tmp_path, None, limits=limits, clock=SystemClock()))
        client = Logplex(tmp_path / SOCKET)
        while not (tmp_path / SOCKET).exists():
            await asyncio.sleep(0.001)
        for number in range(1, 4):
            assert await client.append("c", [_act(number)]) == number
            while (await client.status())["channels"]:
                await asyncio.sleep(0.005)
        before = len(os.listdir("/proc/self/fd"))
        lines = sum([each.lines async for each in client.read("c", Query())])
        assert lines == 3
        while (await client.status())["channels"]:
            await asyncio.sleep(0.005)
        assert len(os.listdir("/proc/self/fd")) <= before
        await client.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(played(), 30))


def test_only_so_many_channels_are_open_and_each_is_kept(tmp_path: Path) -> None:
    async def played() -> None:
        limits = Limits(open_channels=8)
        task = asyncio.create_task(serve(tmp_path, None, limits=limits, clock=SystemClock()))
        client = Logplex(tmp_path / SOCKET)
        while not (tmp_path / SOCKET).exists():
            await asyncio.sleep(0.001)
        names = [f"c{number}" for number in range(50)]
        for number, name in enumerate(names, 1):
            assert await client.append(name, [_act(number)]) == number
            assert (await client.status())["channels"] <= limits.open_channels
        for name in names:
            assert sum([each.lines async for each in client.read(name, Query())]) == 1
        await client.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(played(), 30))
