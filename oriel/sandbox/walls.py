"""Owns noticing that somebody has changed the firewall's table about sandboxes; it is put back.

`nft flush ruleset`, the first line of many a machine's own firewall script, takes the table away,
and with it the walls between sandboxes. The kernel tells each change, in the moment in which it
comes into force, to whoever listens: nothing is polled, and what was told before a look at the
socket is known after it. Formats: linux/netfilter/nfnetlink.h, nf_tables.h. Must not know what the
rules are.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Callable, Iterator

from oriel.faults import Unavailable

_NETLINK_NETFILTER, _NFTABLES_GROUP = 12, 7
_SUBSYSTEM = 10
_NEW_SET_ELEMENT, _DEL_SET_ELEMENT, _NEW_GENERATION = 12, 14, 15
_TABLE_NAME = 1
"""The attribute that names the table, in messages about tables, chains, rules and sets alike."""
_HEADER_BYTES, _FAMILY_BYTES, _ATTRIBUTE_BYTES = 16, 4, 4
READ_BYTES = 1 << 18
TRY_AGAIN_S = 1.0

_log = logging.getLogger("oriel.sandbox.walls")


class Walls:
    """The table of one platform, watched."""

    def __init__(self, table: str, rules: str, nft: Callable[..., str]) -> None:
        """`rules` make `table` what it is to be; `nft` blocks, and raises Unavailable."""
        self._table = table
        self._rules = rules
        self._nft = nft
        self._shape = ""
        self._mending: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None

    async def watch(self) -> None:
        """Begin to listen; what was taken away before, since the rules were told, is put back."""
        heard = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        heard.setblocking(False)
        heard.bind((0, 1 << _NFTABLES_GROUP - 1))
        self._socket = heard
        self._shape = await asyncio.to_thread(self._listed)
        if not self._shape:
            await asyncio.to_thread(self._build)
        asyncio.get_running_loop().add_reader(heard, self._look)

    async def stand(self) -> None:
        """Come back when the rules are in force; Unavailable where they cannot be put back."""
        self._look()
        if self._mending is not None:
            await asyncio.shield(self._mending)

    def close(self) -> None:
        """Listen no more."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        if self._mending is not None:
            self._mending.cancel()

    def _look(self) -> None:
        """Read what was told, and mend what that may have broken."""
        if self._socket is not None and _touches(self._socket, self._table):
            self._mend()

    def _mend(self) -> None:
        if self._mending is None or self._mending.done():
            self._mending = asyncio.ensure_future(self._put_back())
            self._mending.add_done_callback(lambda each: each.cancelled() or each.exception())

    async def _put_back(self) -> None:
        """Until the table is as we left it: our own change is told to us as well."""
        while await asyncio.to_thread(self._listed) != self._shape:
            _log.warning(
                "the firewall's table %s was removed or changed by somebody; dynos stood without "
                "their walls, and have them again now",
                self._table,
            )
            try:
                await asyncio.to_thread(self._build)
            except Unavailable as problem:
                _log.error("no dyno is started until the table is back: %s", problem)
                asyncio.get_running_loop().call_later(TRY_AGAIN_S, self._mend)
                raise

    def _build(self) -> None:
        self._nft(self._rules)
        self._shape = self._listed()

    def _listed(self) -> str:
        """The table as it is, without what it counts or collects; nothing where it is not there."""
        with contextlib.suppress(Unavailable):
            return self._nft("", "-s", "-t", "list", "table", "inet", self._table)
        return ""


def _touches(heard: socket.socket, table: str) -> bool:
    """Whether what has been told is about a table of that name, or too much of it was told."""
    found = False
    while True:
        try:
            found |= any(name == table for name in tables_in(heard.recv(READ_BYTES)))
        except BlockingIOError:
            return found
        except OSError:
            found = True  # ENOBUFS: more was told than was kept


def tables_in(data: bytes) -> Iterator[str]:
    """The tables that the messages in one datagram are about."""
    at = 0
    while at + _HEADER_BYTES <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        subsystem, what = kind >> 8, kind & 0xFF
        told = what not in (_NEW_SET_ELEMENT, _DEL_SET_ELEMENT, _NEW_GENERATION)
        if subsystem == _SUBSYSTEM and told:
            yield from _name(data[at + _HEADER_BYTES + _FAMILY_BYTES : at + length])
        at += max(_HEADER_BYTES, (length + 3) & ~3)


def _name(attributes: bytes) -> Iterator[str]:
    at = 0
    while at + _ATTRIBUTE_BYTES <= len(attributes):
        length, kind = struct.unpack_from("=HH", attributes, at)
        if kind & 0x3FFF == _TABLE_NAME:
            yield attributes[at + _ATTRIBUTE_BYTES : at + length].rstrip(b"\0").decode("latin-1")
            return
        at += max(_ATTRIBUTE_BYTES, (length + 3) & ~3)
