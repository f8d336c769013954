"""Ports of web dynos: free, and each given once."""

from __future__ import annotations

import socket

import pytest

from oriel.faults import Unavailable
from oriel.manifold.local import ports
from oriel.manifold.local.ports import FIRST, LAST, Ports


def test_each_is_given_once_and_can_be_bound() -> None:
    given = Ports()
    found = {given.give(f"i{number}") for number in range(50)}
    assert len(found) == 50
    for port in found:
        assert FIRST <= port <= LAST
        socket.create_server(("127.0.0.1", port)).close()


def narrow(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setattr(ports, "FIRST", port)
    monkeypatch.setattr(ports, "LAST", port)


def test_what_is_kept_is_not_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    given = Ports()
    port = given.give("first")
    narrow(monkeypatch, port)
    again = Ports()
    again.keep(port, "adopted")
    for who in (given, again):
        with pytest.raises(Unavailable, match="No free port"):
            who.give("second")
    given.take_back("nobody")
    given.take_back("first")
    assert given.give("second") == port


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_what_somebody_listens_on_is_not_given(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    port = Ports().give("first")
    narrow(monkeypatch, port)
    with socket.create_server((address, port)), pytest.raises(Unavailable):
        Ports().give("second")
