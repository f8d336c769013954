from __future__ import annotations

import socket
from datetime import UTC, datetime

import pytest

from oriel.client.address import Address
from oriel.client.refusal import UNREACHABLE, Refusal
from oriel.client.wire import Client
from tests.client.stub import Reply, Stub, refusal


def test_a_request_says_who_asks_for_what(stub: Stub, client: Client) -> None:
    stub.on("GET", "/apps/foobaz", {"name": "foobaz"})
    assert client.get("/apps/foobaz").data == {"name": "foobaz"}
    headers = stub.requests[0].headers
    assert headers["Authorization"] == "Bearer secret-token"
    assert headers["Accept"] == "application/vnd.heroku+json; version=3"
    assert len(headers["Request-Id"]) == 36
    assert "Range" not in headers


def test_a_body_goes_as_json(stub: Stub, client: Client) -> None:
    stub.on("PATCH", "/apps/foobaz", {"maintenance": True})
    client.patch("/apps/foobaz", {"maintenance": True})
    assert stub.requests[0].json == {"maintenance": True}
    assert stub.requests[0].headers["Content-Type"] == "application/json"


def test_the_time_is_the_servers(stub: Stub, client: Client) -> None:
    stub.on("GET", "/a", {})
    client.get("/a")
    assert client.now == datetime(2011, 6, 19, 8, 35, 25, tzinfo=UTC)


def test_pages_are_followed_as_far_as_is_wanted(stub: Stub, client: Client) -> None:
    first = Reply([3, 2], 206, {"Next-Range": "version ]2..; max=2, order=desc"})
    stub.on("GET", "/l", first, [1])
    assert client.listing("/l", range="version ..; max=2, order=desc") == [3, 2, 1]
    assert stub.requests[1].headers["Range"] == "version ]2..; max=2, order=desc"
    stub.on("GET", "/l", first)
    assert client.listing("/l", most=2) == [3, 2]
    assert client.listing("/l", most=3) == [3, 2, 3]


@pytest.mark.parametrize("app", [{"name": "foobaz"}, "foobaz"])
def test_a_refusal_keeps_all_it_came_with(stub: Stub, client: Client, app: object) -> None:
    said = refusal(404, "not_found", "Couldn't find that app.", hint="h", resource="app", app=app)
    stub.on("GET", "/a", said)
    with pytest.raises(Refusal) as refused:
        client.get("/a")
    fault = refused.value
    assert (fault.id, fault.status, fault.message) == ("not_found", 404, "Couldn't find that app.")
    assert (fault.hint, fault.resource, fault.app) == ("h", "app", "foobaz")
    assert len(stub.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"<html>", 404, kind="text/html"),
        Reply(b"{", 200),
        Reply([1], 500),
        Reply({"message": 3}, 500),
        Reply(b"[" * 100_000, 200),
    ],
)
def test_what_is_no_api_is_said_to_be_none(stub: Stub, client: Client, reply: Reply) -> None:
    stub.on("GET", "/a", reply)
    with pytest.raises(Refusal, match="is no Oriel API") as refused:
        client.get("/a")
    assert "ORIEL_API" in refused.value.hint


def test_a_get_is_tried_again_and_a_post_is_not(
    stub: Stub, client: Client, pauses: list[float]
) -> None:
    broken = Reply({"a": 1}, broken=True)
    stub.on("GET", "/a", broken, {"a": 1})
    assert client.get("/a").data == {"a": 1}
    assert pauses == [0.1]
    stub.on("GET", "/a", broken)
    with pytest.raises(Refusal, match="broke off"):
        client.get("/a")
    assert pauses == [0.1, 0.1, 0.4]
    stub.on("POST", "/a", broken)
    with pytest.raises(Refusal, match="may have been done all the same") as refused:
        client.post("/a", {})
    assert refused.value.id == UNREACHABLE
    assert len(stub.calls("POST")) == 1


def test_nobody_there_says_what_to_start(pauses: list[float]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        place = Address("http", "127.0.0.1", taken.getsockname()[1])
        client = Client(place, pause=pauses.append)
        with pytest.raises(Refusal, match="Nothing answers at") as refused:
            client.post("/a", {})
    assert "oriel up" in refused.value.hint
    assert "may have been done" not in refused.value.message
    assert pauses == []


def test_speaking_tls_to_who_does_not(stub: Stub) -> None:
    place = Address.parse(stub.url)
    client = Client(Address("https", place.host, place.port), pause=lambda _: None)
    with pytest.raises(Refusal, match="does not speak TLS"):
        client.get("/a")


def test_one_connection_serves_several_requests(stub: Stub, client: Client) -> None:
    ports = set()
    stub.on("GET", "/a", {})
    for _ in range(3):
        client.get("/a")
        assert client._connection is not None
        ports.add(client._connection.sock.getsockname())
    assert len(ports) == 1


def test_a_stream_carries_no_token(stub: Stub, client: Client) -> None:
    stub.on("GET", "/s", Reply(chunks=[b"a\n", b"b\n"], kind="text/plain"))
    with client.stream("/s", timeout_s=5) as stream:
        assert b"".join(stream.chunks()) == b"a\nb\n"
        assert not stream.events
    assert "Authorization" not in stub.requests[0].headers


def test_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with socket.socket(socket.AF_INET6) as listening:
        try:
            listening.bind(("::1", 0))
        except OSError:
            pytest.skip("no ::1 here")
        listening.listen()
        client = Client(Address("http", "::1", listening.getsockname()[1]))
        connection = client._connect(5)
        connection.putrequest("GET", "/")
        connection.endheaders()
        peer, _ = listening.accept()
        with peer:
            assert b"Host: [::1]:" in peer.recv(4096)
        connection.close()
