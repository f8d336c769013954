from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.client.refusal import Refusal
from oriel.client.stream import TRIES_HISTORY, TRIES_TAIL, events, follow
from oriel.client.wire import Client
from tests.client.stub import Reply, Request, Stub, refusal, sse


def _session(stub: Stub) -> str:
    return f"{stub.url}/log-sessions/capability"


def _all(stub: Stub, client: Client, *, tail: bool = False) -> list[bytes]:
    batches = follow(client, lambda: _session(stub), tail=tail)
    return [line for batch in batches for line in batch]


def test_lines_of_events(stub: Stub, client: Client) -> None:
    stub.on("GET", "/log-sessions/capability", sse(("1", [b"a", b""]), ("2", [b"  b: c\r"])))
    assert _all(stub, client) == [b"a", b"", b"  b: c\r"]


def test_lines_of_a_plain_stream(stub: Stub, client: Client) -> None:
    stub.on("GET", "/log-sessions/capability", Reply(chunks=[b"a\nb", b"c\nd"], kind="text/plain"))
    assert _all(stub, client) == [b"a", b"bc", b"d"]


@given(
    st.lists(
        st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"")), max_size=4),
        max_size=4,
    ),
    st.integers(1, 7),
)
def test_events_come_whole_however_they_are_cut(batches: list[list[bytes]], size: int) -> None:
    text = b"retry: 1\n\n"
    for number, lines in enumerate(batches):
        text += (
            b": comment\n\nid: %d\n" % number + b"".join(b"data: %b\n" % x for x in lines) + b"\n"
        )
    chunks = [text[at : at + size] for at in range(0, len(text), size)]
    found = [(position, lines) for position, lines in events(chunks) if lines]
    assert found == [(str(at), lines) for at, lines in enumerate(batches) if lines]


def test_a_break_is_taken_up_where_it_was(stub: Stub, client: Client, pauses: list[float]) -> None:
    stub.on(
        "GET",
        "/log-sessions/capability",
        sse(("7", [b"a"]), broken=True),
        sse(("9", [b"b"])),
    )
    assert _all(stub, client) == [b"a", b"b"]
    asked = stub.calls("GET")
    assert "Last-Event-ID" not in asked[0].headers
    assert asked[1].headers["Last-Event-ID"] == "7"
    assert len(pauses) == 1


def test_history_that_keeps_breaking_gives_up(stub: Stub, client: Client) -> None:
    stub.on(
        "GET", "/log-sessions/capability", Reply(chunks=[], kind="text/event-stream", broken=True)
    )
    with pytest.raises(Refusal, match="broke off"):
        _all(stub, client)
    assert len(stub.calls("GET")) == TRIES_HISTORY + 1


def test_a_tail_comes_back_after_each_end_until_there_is_no_life(
    stub: Stub, client: Client, pauses: list[float]
) -> None:
    silent = Reply(chunks=[], kind="text/event-stream")
    stub.on("GET", "/log-sessions/capability", sse(("1", [b"a"])), sse(("2", [b"b"])), silent)
    lines = follow(client, lambda: _session(stub), tail=True)
    assert next(lines) == [b"a"]
    assert next(lines) == [b"b"]
    with pytest.raises(Refusal, match="keeps ending"):
        next(lines)
    assert len(pauses) == TRIES_TAIL + 1
    assert max(pauses) == 5.0


def test_an_expired_session_is_followed_by_a_new_one_from_the_same_place(
    stub: Stub, client: Client
) -> None:
    sessions: list[int] = []

    def open_session() -> str:
        sessions.append(1)
        return f"{stub.url}/log-sessions/{len(sessions)}"

    gone = refusal(404, "not_found", "Couldn't find that log session.")
    stub.on("GET", "/log-sessions/1", sse(("5", [b"a"])), gone)
    stub.on("GET", "/log-sessions/2", sse(("6", [b"b"])))
    lines = follow(client, open_session, tail=True)
    assert [next(lines), next(lines)] == [[b"a"], [b"b"]]
    assert stub.calls("GET", "/log-sessions/2")[0].headers["Last-Event-ID"] == "5"
    lines.close()


def test_a_session_that_never_opens_is_refused_at_once(stub: Stub, client: Client) -> None:
    def open_session() -> str:
        return str(client.post("/apps/foobaz/log-sessions", {}).data["logplex_url"])

    stub.on("POST", "/apps/foobaz/log-sessions", refusal(503, "unavailable", "Logplex is away."))
    with pytest.raises(Refusal, match="Logplex is away"):
        list(follow(client, open_session, tail=True))
    assert len(stub.requests) == 1


def test_what_is_refused_for_good_is_not_tried_again(stub: Stub, client: Client) -> None:
    asked: list[Request] = []

    def answer(request: Request) -> Reply:
        asked.append(request)
        return refusal(403, "forbidden", "No.")

    stub.on("GET", "/log-sessions/capability", answer)
    with pytest.raises(Refusal, match=r"No\."):
        _all(stub, client, tail=True)
    assert len(asked) == 1
