"""`POST /logs`, as Heroku's Logplex answers it; its own tests, where they concern a black box."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import resource

import pytest

from oriel.logplex.tokens import new_token
from tests.logplex.inlets.conftest import Bench, Play, counted, packet

HTTP = ("http", "127.0.0.1:0")
FIVE = [f"message {number}" for number in range(5)]


def five(token: str) -> bytes:
    return counted(*[packet(token, text) for text in FIVE])


@pytest.mark.parametrize("zipped", [False, True])
def test_b8_1_logs_rest_five_frames_are_204_and_five_messages(play: Play, zipped: bool) -> None:
    async def story(bench: Bench) -> None:
        token = await bench.token()
        answer = await bench.post(five(token), user=f"token:{token}", zipped=zipped)
        assert (answer.status, answer.text) == (204, "")
        assert await bench.read() == [f"app[web.1]: {text}" for text in FIVE]

    play(story, HTTP)


def test_b8_1_logs_rest_is_503_while_nothing_can_be_kept(play: Play) -> None:
    """Theirs: ingress switched off. Ours has no switch; a full disk is the same to a sender."""

    async def story(bench: Bench) -> None:
        token = await bench.token()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))
        try:
            answer = await bench.post(five(token), user=f"token:{token}")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert await bench.read() == []
        assert (await bench.post(five(token), user=f"token:{token}")).status == 204
        assert len(await bench.read()) == 5

    play(story, HTTP)


def test_b8_6_health_200(play: Play) -> None:
    async def story(bench: Bench) -> None:
        answer = await bench.post(b"", method="GET", path="/healthcheck")
        assert (answer.status, answer.text) == (200, '{"status":"normal"}')

    play(story, HTTP)


def test_b8_10_any_channel_credential_with_unknown_missing_and_malformed_token(play: Play) -> None:
    async def story(bench: Bench) -> None:
        token = await bench.token()
        made = await bench.client.create_credential(any_channel=True)
        user = f"{made['id']}:{made['password']}"
        assert (await bench.post(five(token), user=user)).status == 204
        for wrong in (new_token(), "-", "t.rubbish"):
            assert (await bench.post(five(wrong), user=user)).status == 204
        assert len(await bench.read()) == 5
        assert (await bench.doors())["http"]["unknown_token"] == 15
        assert await bench.client.revoke_credential(made["id"])
        assert (await bench.post(five(token), user=user)).status == 401

    play(story, HTTP)


def test_b8_10_unknown_channel_is_counted_and_ignored(play: Play) -> None:
    async def story(bench: Bench) -> None:
        made = await bench.client.create_credential(any_channel=True)
        gone = await bench.token("gone")
        await bench.client.forget("gone")
        user = f"{made['id']}:{made['password']}"
        assert (await bench.post(five(gone), user=user)).status == 204
        assert (await bench.doors())["http"]["unknown_token"] == 5
        assert await bench.client.channels() == []

    play(story, HTTP)


def test_a_tokens_own_channel_takes_all_whatever_the_frames_say(play: Play) -> None:
    async def story(bench: Bench) -> None:
        token, other = await bench.token("c", "cache"), await bench.token("d")
        assert (await bench.post(five(other), user=f"token:{token}")).status == 204
        heroku = counted(b"<158>1 2020-01-01T00:00:00+00:00 host heroku router - at=info path=/")
        assert (await bench.post(heroku, user=f"token:{token}")).status == 204
        said = await bench.read("c")
        assert said[:5] == [f"cache[web.1]: {text}" for text in FIVE]
        assert said[5] == "cache[router]: at=info path=/"
        assert await bench.read("d") == []

    play(story, HTTP)


def test_who_may_not_is_refused(play: Play) -> None:
    async def story(bench: Bench) -> None:
        token = await bench.token()
        made = await bench.client.create_credential(any_channel=False)
        for user in ("", "token:", f"token:{new_token()}", f"other:{token}", f"{made['id']}:x"):
            answer = await bench.post(five(token), user=user)
            assert answer.status == 401, user
            assert answer.headers["www-authenticate"] == "basic realm=logplex"
        for header in ("Bearer x", "Basic !!!", "Basic", "Basic /w=="):
            assert (await bench.post(five(token), Authorization=header)).status == 401
        user = f"{made['id']}:{made['password']}"
        assert (await bench.post(five(token), user=user)).status == 403
        assert await bench.read() == []

    play(story, HTTP)


def test_what_is_no_batch_is_refused_as_a_whole(play: Play) -> None:
    async def story(bench: Bench) -> None:
        token = await bench.token()
        user = f"token:{token}"
        bad = [
            five(token) + b"x",
            five(token) + b"5 hello",
            five(token)[:-1],
            b"99999 " + packet(token, "x"),
            packet(token, "x") + b"\n",
            counted(packet(token, "y" * 10_240)),
        ]
        for body in bad:
            for zipped in (False, True):
                answer = await bench.post(body, user=user, zipped=zipped)
                assert (answer.status, answer.text) == (400, "Malformed log messages")
        answer = await bench.post(b"no gzip", user=user, Content_Encoding="gzip")
        assert answer.status == 400
        for count in ("4", "6", "five", "-5"):
            answer = await bench.post(five(token), user=user, Logplex_Msg_Count=count)
            assert (answer.status, answer.text) == (400, "Message count mismatch")
        assert await bench.read() == []
        answer = await bench.post(five(token), user=user, Logplex_Msg_Count="5")
        assert answer.status == 204
        assert (await bench.post(b"", user=user)).status == 204
        assert len(await bench.read()) == 5

    play(story, HTTP)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"method": "GET"}, 405),
        ({"method": "PUT"}, 405),
        ({"path": "/"}, 404),
        ({"path": "/logs?srv=1"}, 204),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": ""}, 415),
        ({"Content_Type": "application/x-logplex-1"}, 204),
        ({"Content_Encoding": "br"}, 415),
        ({"Content_Length": "99999999999"}, 413),
        ({"Content_Length": "x"}, 400),
    ],
)
def test_methods_types_and_sizes(play: Play, changes: dict[str, str], status: int) -> None:
    async def story(bench: Bench) -> None:
        token = await bench.token()
        answer = await bench.post(five(token), user=f"token:{token}", **changes)  # type: ignore[arg-type]
        assert answer.status == status

    play(story, HTTP)


def test_a_gzip_bomb_and_a_body_without_end_are_refused_at_a_limit(play: Play) -> None:
    async def story(bench: Bench) -> None:
        token = await bench.token()
        user = f"token:{token}"
        frame = counted(packet(token, "y" * 9000))
        bomb = gzip.compress(frame * 30_000)
        assert len(bomb) < 2_000_000
        answer = await bench.post(bomb, user=user, Content_Encoding="gzip")
        assert answer.status == 413
        zeros = gzip.compress(bytes(50_000_000))
        answer = await bench.post(zeros, user=user, Content_Encoding="gzip")
        assert answer.status == 400
        _, writer = await asyncio.open_connection("127.0.0.1", await bench.port("http"))
        basic = base64.b64encode(user.encode())
        writer.write(
            b"POST /logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/logplex-1\r\n"
            b"Authorization: Basic " + basic + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"%x\r\n%b\r\n" % (len(frame), frame)
        with pytest.raises(ConnectionError):  # noqa: PT012 - whichever write it is
            for _ in range(1_000_000):
                writer.write(chunk)
                await writer.drain()
        writer.close()
        assert await bench.read() == []
        assert (await bench.post(five(token), user=user)).status == 204

    play(story, HTTP, post_bytes=1_000_000)


def test_one_connection_carries_many_requests(play: Play) -> None:
    async def story(bench: Bench) -> None:
        token = await bench.token()
        reader, writer = await asyncio.open_connection("127.0.0.1", await bench.port("http"))
        basic = base64.b64encode(f"token:{token}".encode()).decode()
        for number, body in enumerate((five(token), b"rubbish", five(token))):
            head = (
                "POST /logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/logplex-1\r\n"
                f"Authorization: Basic {basic}\r\nContent-Length: {len(body)}\r\n"
                "Expect: 100-continue\r\n\r\n"
            )
            writer.write(head.encode())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
            writer.write(body)
            answer = await reader.readuntil(b"\r\n\r\n")
            if number == 1:
                assert answer.startswith(b"HTTP/1.1 400")
                await reader.readexactly(len("Malformed log messages"))
            else:
                assert answer.startswith(b"HTTP/1.1 204")
        writer.close()
        assert len(await bench.read()) == 10

    play(story, HTTP)


def test_the_same_frame_id_twice_is_kept_once(play: Play) -> None:
    async def story(bench: Bench) -> None:
        token = await bench.token()
        user = f"token:{token}"
        for frame_id in ("A", "A", "B"):
            answer = await bench.post(five(token), user=user, Logplex_Frame_Id=frame_id)
            assert answer.status == 204
        assert len(await bench.read()) == 10

    play(story, HTTP)


def test_who_is_silent_or_slow_is_closed(play: Play) -> None:
    async def story(bench: Bench) -> None:
        port = await bench.port("http")
        for begun in (b"", b"POST /logs HT", b"POST /logs HTTP/1.1\r\nHost: x\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(begun)
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()
        answer = await bench.raw(b"GET / HTTP/1.1\r\nx: " + b"y" * 100_000)
        assert answer.status == 431

    play(story, HTTP, silent_s=0.1, request_s=0.1)
