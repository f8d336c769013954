"""The firewall's table is put back when somebody takes it away; in a network of the test's own."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import shutil
import struct
import subprocess
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from oriel.faults import Unavailable
from oriel.sandbox.network import nft
from oriel.sandbox.walls import Walls, tables_in

CLONE_NEWNET = 0x40000000


def real(test: Any) -> Any:
    """As root, with nftables, on real ground."""
    missing = os.getuid() != 0 or not shutil.which("nft", path="/usr/sbin:/sbin")
    return pytest.mark.real(pytest.mark.skipif(missing, reason="only root, with nftables")(test))


TABLE = "oriel_test_walls"
RULES = f"""table inet {TABLE} {{}}
delete table inet {TABLE}
table inet {TABLE} {{
  set crowds {{ type ipv4_addr; size 100; flags dynamic; }}
  chain arrivals {{
    type filter hook input priority filter; policy accept;
    ip saddr 192.0.2.1 counter drop
  }}
}}
"""


def message(kind: int, table: str, subsystem: int = 10) -> bytes:
    """As the kernel tells of a change; behind the table's name there is more."""
    name = table.encode() + b"\0"
    attributes = struct.pack("=HH", 4 + len(name), 1) + name
    attributes += b"\0" * (-len(attributes) % 4) + struct.pack("=HHI", 8, 2, 7)
    body = struct.pack("=BBH", 1, 0, 0) + attributes
    return struct.pack("=IHHII", 16 + len(body), subsystem << 8 | kind, 0, 0, 0) + body


def test_which_tables_are_told_of() -> None:
    told = message(2, "mine") + message(6, "another") + message(15, "generation")
    told += message(12, "an element of a set") + message(2, "other subsystem", 1)
    assert list(tables_in(told)) == ["mine", "another"]
    for cut in range(len(told)):
        assert set(tables_in(told[:cut])) <= {"mine", "another", "m", "mi", "min", "", *(
            "another"[:length] for length in range(8)
        )}  # fmt: skip
    assert list(tables_in(b"\0" * 64)) == []


def alone(story: Callable[[Walls], Coroutine[Any, Any, None]]) -> None:
    """Play it in a network namespace of its own: this machine's firewall is left alone."""
    problems: list[BaseException] = []

    async def whole() -> None:
        nft(RULES)
        walls = Walls(TABLE, RULES, nft)
        await walls.watch()
        try:
            async with asyncio.timeout(30):
                await story(walls)
        finally:
            walls.close()

    def run() -> None:
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "unshare")
            asyncio.run(whole())  # Its threads are in this namespace too.
        except BaseException as problem:
            problems.append(problem)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    for each in problems:
        raise each


def listed() -> str:
    done = subprocess.run(
        ["nft", "-s", "-t", "list", "ruleset"], capture_output=True, text=True, check=False
    )
    return done.stdout


def operator(*words: str) -> None:
    subprocess.run(["nft", *words], check=True)


@pytest.mark.parametrize(
    "deed",
    [
        ("flush", "ruleset"),
        ("delete", "table", "inet", TABLE),
        ("flush", "table", "inet", TABLE),
        ("insert", "rule", "inet", TABLE, "arrivals", "accept"),
        ("add", "table", "inet", TABLE, "{ flags dormant; }"),
    ],
    ids=" ".join,
)
@real
def test_what_an_operator_takes_away_is_put_back(
    deed: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    async def story(walls: Walls) -> None:
        before = listed()
        await walls.stand()
        assert not caplog.records
        operator(*deed)
        assert listed() != before
        # Nobody asks: it is noticed. And who asks is answered when they stand.
        await walls.stand()
        assert listed() == before
        operator(*deed)
        while listed() != before:
            await asyncio.sleep(0.01)
        await walls.stand()
        assert [each.getMessage().count(TABLE) for each in caplog.records] == [1, 1]

    with caplog.at_level(logging.WARNING):
        alone(story)


@real
def test_what_is_none_of_ours_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def story(walls: Walls) -> None:
        operator("add", "table", "inet", "another")
        operator("add", "element", "inet", TABLE, "crowds", "{ 192.0.2.7 }")
        operator("delete", "table", "inet", "another")
        await walls.stand()
        assert not caplog.records

    with caplog.at_level(logging.WARNING):
        alone(story)


@real
def test_where_they_cannot_be_put_back_nothing_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(walls: Walls) -> None:
        def refuse(text: str, *words: str) -> str:
            if words:
                return nft(text, *words)
            raise Unavailable("nft: no such luck")

        monkeypatch.setattr(walls, "_nft", refuse)
        operator("flush", "ruleset")
        with pytest.raises(Unavailable, match="no such luck"):
            await walls.stand()
        with pytest.raises(Unavailable, match="no such luck"):
            await walls.stand()
        monkeypatch.setattr(walls, "_nft", nft)
        while TABLE not in listed():  # It is tried again.
            await asyncio.sleep(0.05)
        await walls.stand()

    alone(story)
