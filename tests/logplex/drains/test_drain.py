"""A drain at work over HTTP: what is refused now is waited for, what is told is told once."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from oriel import faults
from oriel.logplex.drains import drain as drains

from .conftest import FAST, HASTY, Bench, Receiver, frames, play, until


def lines(first: int, last: int) -> list[str]:
    return [f"line {number}" for number in range(first, last + 1)]


async def drained(bench: Bench, receiver: Receiver, query: str = "") -> None:
    await receiver.start()
    await bench.add(f"http://u:p@127.0.0.1:{receiver.port}/in{query}")


def test_lines_arrive_as_heroku_says_them(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        receiver = Receiver()
        bench.say("before")
        await drained(bench, receiver, "?a=b&format=rfc5424")
        bench.platform("Scale to web=2 by ned@foobazco.com")
        bench.say("one", "", "tab\there \u00fc")
        await until(lambda: len(receiver.taken) == 4, "four lines")
        said = receiver.requests[0]
        assert said.path == "/in?a=b"
        assert said.headers["content-type"] == "application/logplex-1"
        assert said.headers["authorization"] == "Basic dTpw"
        assert said.headers["logplex-msg-count"] == str(len(said.texts))
        assert said.headers["logplex-drain-token"].startswith("d.")
        assert said.headers["user-agent"].startswith("Logplex/")
        assert len(said.frame_id) == 32
        assert said.frame_id == said.frame_id.upper()
        packets = [each for one in receiver.requests for each in frames(one.body)]
        heads = [each.split(b" ")[0] + b" " + b" ".join(each.split(b" ")[2:7]) for each in packets]
        assert heads[0] == b"<134>1 host heroku api - -"
        assert heads[1] == b"<190>1 host app web.1 - -"
        assert receiver.taken[1:] == ["one", "", "tab\there \u00fc"]
        told = await bench.answered()
        assert (told["state"], told["answer"], told["delivered"]) == ("up", "200 Said", 4)
        assert (told["lag_lines"], told["lag_bytes"], told["lag_s"]) == (0, 0, 0.0)
        await receiver.stop()

    play(bench, story)


def test_json(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        receiver = Receiver()
        await drained(bench, receiver, "?format=json")
        bench.say("one", "two")
        bench.platform("three")
        rows: list[dict[str, Any]] = []

        def whole() -> bool:
            rows[:] = [
                json.loads(row) for each in receiver.requests for row in each.body.splitlines()
            ]
            return len(rows) == 3

        await until(whole, "three rows")
        assert receiver.requests[0].path == "/in"
        assert [(each["source"], each["ps"], each["text"]) for each in rows] == [
            ("app", "web.1", "one"),
            ("app", "web.1", "two"),
            ("heroku", "api", "three"),
        ]
        await receiver.stop()

    play(bench, story)


@pytest.mark.parametrize("answers", [[500], [429], [408], ["hang"], ["close", "close"], [503, 500]])
def test_what_fails_is_said_again_as_it_was(bench: Bench, answers: list[int | str]) -> None:
    bench.times = HASTY if "hang" in answers else FAST

    async def story(bench: Bench) -> None:
        receiver = Receiver(script=list(answers))
        await drained(bench, receiver)
        bench.say(*lines(1, 50))
        await until(lambda: len(receiver.taken) == 50, "all lines")
        assert receiver.taken == lines(1, 50)
        first = [each for each in receiver.requests if each.texts[0] == "line 1"]
        # On a busy machine an answer may come too late for the hasty.
        assert len(first) == len(answers) + 1 or ("hang" in answers and len(first) > 2)
        assert len({each.frame_id for each in first}) == 1
        assert len({each.body for each in first}) == 1
        told = await bench.answered()
        assert (told["state"], told["lost"]) == ("up", 0)
        await receiver.stop()

    play(bench, story)


def test_a_slow_receiver_gets_more_time(bench: Bench) -> None:
    bench.times = HASTY

    async def story(bench: Bench) -> None:
        receiver = Receiver(script=["hang", "hang"])
        await drained(bench, receiver)
        bench.say("x")
        await until(lambda: receiver.taken == ["x"], "x")
        outlet = _first(bench)._outlet
        back = bench.times.answer_s
        await until(lambda: outlet._answer_s == back)  # type: ignore[attr-defined]
        await receiver.stop()

    play(bench, story)


def test_a_closed_kept_connection_is_no_failure(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        receiver = Receiver()
        await drained(bench, receiver)
        bench.say("one")
        await until(lambda: receiver.taken == ["one"])
        for each in list(receiver._writers):
            each.close()
        bench.say("two")
        await until(lambda: receiver.taken == ["one", "two"])
        assert (await bench.answered())["retries"] == 0
        assert receiver.connections == 2
        await receiver.stop()

    play(bench, story)


def test_a_receiver_that_is_away_gets_everything_later_and_in_order(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        receiver = await Receiver().start()
        port = receiver.port
        await receiver.stop()
        await bench.add(f"http://127.0.0.1:{port}/")
        for at in range(10):
            bench.say(*lines(at * 500, at * 500 + 499))
            await asyncio.sleep(0.01)
        await until(lambda: bench.roster._drains and _first(bench).state.health.failures >= 2)
        told = await bench.told()
        assert told["state"] == "retrying"
        assert told["lag_lines"] == 5000
        assert "refused" in told["answer"]
        await Receiver.start(receiver)
        bench.hurry()
        await until(lambda: len(receiver.taken) >= 5000)
        assert receiver.taken == lines(0, 4999)
        assert max(len(each.body) for each in receiver.requests) < 1.01 * drains.BATCH_BYTES
        await receiver.stop()

    play(bench, story)


def _first(bench: Bench) -> drains.Drain:
    return next(iter(bench.roster._drains.values()))


@pytest.mark.parametrize("answer", [400, 401, 404, 410, 413, 301])
def test_a_no_pauses_and_a_test_goes_on(bench: Bench, answer: int) -> None:
    async def story(bench: Bench) -> None:
        receiver = Receiver(script=[answer, answer])
        await drained(bench, receiver)
        bench.say("one")
        await until(lambda: _first(bench).state.health.state == "paused", "paused")
        token = (await bench.told())["token"]
        said = bench.in_channel()
        assert f"Drain {token} paused: http://u:****@127.0.0.1:{receiver.port}/in" in said.replace(
            "http://****:****@", "http://u:****@"
        )
        assert f"answered {answer} Said" in said
        bench.say("two")
        await asyncio.sleep(0.1)
        assert len(receiver.requests) == 1, "a paused drain leaves its receiver alone"
        no = await bench.ask("drain-test", drain=token, text="?")
        assert (no["taken"], no["answer"]) == (False, f"{answer} Said")
        yes = await bench.ask("drain-test", drain=token, text="!")
        assert yes["taken"]
        await until(lambda: "two" in receiver.taken, "it goes on")
        assert [each for each in receiver.taken if each in ("one", "two")] == ["one", "two"]
        told = await bench.answered()
        assert (told["state"], told["lost"]) == ("up", 0)
        assert f"Drain {token} goes on" in bench.in_channel()
        await receiver.stop()

    play(bench, story)


def test_a_restart_goes_on_where_it_was(bench: Bench) -> None:
    async def story() -> None:
        receiver = Receiver(script=[200, "hang"])
        await bench.start()
        await drained(bench, receiver)
        bench.say("one")
        await until(lambda: receiver.taken == ["one"])
        bench.say("two", "three")
        await until(lambda: len(receiver.requests) == 2)
        await bench.kill()
        await bench.start()
        bench.say("four")
        await until(lambda: receiver.taken[-1:] == ["four"] and not _first(bench).state.until)
        assert receiver.taken == ["one", "two", "three", "four"]
        assert receiver.requests[2].frame_id == receiver.requests[1].frame_id
        await bench.stop()
        await bench.start()
        bench.say("five")
        await until(lambda: receiver.taken[-1:] == ["five"])
        assert receiver.taken == ["one", "two", "three", "four", "five"]
        await bench.stop()
        await receiver.stop()

    asyncio.run(asyncio.wait_for(story(), 30))


def test_a_pause_outlives_a_restart(bench: Bench) -> None:
    async def story() -> None:
        receiver = Receiver(script=[404])
        await bench.start()
        await drained(bench, receiver)
        bench.say("one")
        await until(lambda: _first(bench).state.health.state == "paused")
        await bench.stop()
        await bench.start()
        await asyncio.sleep(0.15)
        assert len(receiver.requests) == 1
        bench.hurry()
        await until(lambda: receiver.taken[:1] == ["one"])
        await bench.stop()
        await receiver.stop()

    asyncio.run(asyncio.wait_for(story(), 30))


def test_replay(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        receiver = Receiver()
        bench.say(*lines(1, 3))
        await asyncio.sleep(0.002)
        middle_us = bench._now_us()
        bench.say(*lines(4, 6))
        await drained(bench, receiver)
        bench.say("new")
        await until(lambda: receiver.taken == ["new"])
        token = (await bench.told())["token"]
        assert (await bench.ask("drain-replay", drain=token, since_us=middle_us))["lines"] == 4
        await until(lambda: len(receiver.taken) == 5)
        assert receiver.taken == ["new", "line 4", "line 5", "line 6", "new"]
        assert (await bench.ask("drain-replay", drain=token, since_us=0))["lines"] == 7
        await until(lambda: len(receiver.taken) == 12)
        assert receiver.taken[5:] == [*lines(1, 6), "new"]
        await receiver.stop()

    play(bench, story)


def test_operations_refuse(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        made = await bench.add("http://u:topsecret@127.0.0.1:9/in")
        with pytest.raises(faults.Conflict) as twice:
            await bench.add("http://u:topsecret@127.0.0.1:9/in")
        assert "topsecret" not in str(twice.value)
        for url in (
            "http://169.254.169.254/",
            "syslog://[::1]/",
            "nothing",
            "http://[::ffff:7f00:1]/",
        ):
            with pytest.raises(faults.Invalid):
                await bench.add(url)
        with pytest.raises(faults.NotFound):
            await bench.ask("drain-remove", drain="d.nothing")
        for number in range(19):
            await bench.add(f"http://127.0.0.1:9/{number}")
        with pytest.raises(faults.Invalid, match="at most 20"):
            await bench.add("http://127.0.0.1:9/20")
        assert "topsecret" not in json.dumps(await bench.ask("drains"))
        for name in (made["url"], "http://127.0.0.1:9/1"):
            await bench.ask("drain-remove", drain=name)
        assert len((await bench.ask("drains"))["drains"]) == 18
        await bench.roster.forget("c")
        assert (await bench.ask("drains"))["drains"] == []
        assert list((bench.data / "drains").iterdir()) == []

    play(bench, story)


def test_drains_that_look_alike_are_told_apart(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        one = await bench.add("http://u:topsecret@127.0.0.1:9/in")
        two = await bench.add("http://u:other-one@127.0.0.1:9/in")
        assert one["url"] == two["url"]
        with pytest.raises(faults.Conflict, match="2 drains look like that"):
            await bench.ask("drain-remove", drain=one["url"])
        await bench.ask("drain-remove", drain="http://u:other-one@127.0.0.1:9/in")
        assert (await bench.told())["token"] == one["token"]

    play(bench, story)


def test_the_same_id_twice_makes_one(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        wish = {"url": "http://127.0.0.1:9/", "id": "0" * 8 + "-0000-0000-0000-" + "0" * 12}
        first = await bench.ask("drain-add", **wish)
        again = await bench.ask("drain-add", **wish)
        assert first["drain"]["token"] == again["drain"]["token"]
        for bad in ("../../x", 5, "a"):
            with pytest.raises(faults.Invalid):
                await bench.ask("drain-add", url="http://127.0.0.1:8/", id=bad)

    play(bench, story)


def test_lines_of_many_records_and_long_ones(bench: Bench) -> None:
    async def story(bench: Bench) -> None:
        receiver = Receiver()
        await drained(bench, receiver)
        channel = bench.channel
        source = channel.source("app", "web.1", "i", 1)
        for piece in (b"be", b"gin", b"ning\nnext\n", b"x" * 25_000, b"\n", b"end"):
            channel.write(source, piece, bench._now_us())
        await until(lambda: len(receiver.taken) == 5)
        assert receiver.taken == ["beginning", "next", "x" * 10_000, "x" * 10_000, "x" * 5000]
        channel.close_line(source, bench._now_us())
        await until(lambda: receiver.taken[-1:] == ["end"])
        await receiver.stop()

    play(bench, story)


def test_a_mistake_of_ours_does_not_end_a_drain(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(bench: Bench) -> None:
        receiver = Receiver()
        await drained(bench, receiver)
        monkeypatch.setattr(drains.machine, "RETRY_MAX_S", 0.01)
        drain, done = _first(bench), []

        class Broken:
            immediate, broken, old = True, False, False

            async def send(self, batch: object) -> object:
                done.append(1)
                drain._outlet = outlet
                raise RuntimeError("ours")

            async def close(self) -> object:
                return await outlet.close()

        outlet, drain._outlet = drain._outlet, Broken()  # type: ignore[assignment]
        bench.say("one")
        await until(lambda: receiver.taken == ["one"])
        assert done
        await receiver.stop()

    play(bench, story)
