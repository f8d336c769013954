"""Owns talking to the kernel about network devices: the few rtnetlink messages that Oriel needs.

Must not know sandboxes, and imports next to nothing: the fork server lives on it. Formats: linux
/rtnetlink.h, /if_link.h and rtnetlink(7). The `ip` command would do, at 20 ms a dyno; a library
would, at a start of every process that copies its pages.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

ANSWER_BYTES = 65536
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_CREATE = 0x400 | 0x200  # and fail if it is there
_ERROR, _DONE = 2, 3
_NEW_LINK, _GET_LINK, _SET_LINK = 16, 18, 19
_NEW_ADDRESS, _NEW_ROUTE, _GET_ROUTE = 20, 24, 26
_IFF_UP = 1
_IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO = 3, 4, 18
_IFLA_NET_NS_FD, _IFLA_AF_SPEC = 28, 26
_INFO_KIND, _INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_INET_CONF, _ROUTE_LOCALNET = 1, 26
_INET6_ADDR_GEN_MODE, _GEN_NONE = 8, 1
_NESTED = 0x8000
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_MAIN_TABLE, _BOOT, _UNIVERSE, _UNICAST = 254, 3, 0, 1


class Netlink:
    """A socket into the network namespace in which it was made, wherever its user goes."""

    def __init__(self) -> None:
        """Opened where the caller stands."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._count = 0

    def close(self) -> None:
        """Let go of it."""
        self._socket.close()

    def pair(self, outside: str, inside: str, namespace: int, mtu: int) -> None:
        """Two devices, joined: `outside` here, `inside` in the namespace of that descriptor."""
        size = _attribute(_IFLA_MTU, struct.pack("=I", mtu))
        other = _link(0) + _name(inside) + size
        other += _attribute(_IFLA_NET_NS_FD, struct.pack("=I", namespace))
        kind = _attribute(_INFO_KIND, b"veth")
        data = _attribute(_INFO_DATA | _NESTED, _attribute(_VETH_INFO_PEER | _NESTED, other))
        info = _attribute(_IFLA_LINKINFO | _NESTED, kind + data)
        self._ask(_NEW_LINK, _CREATE, _link(0) + _name(outside) + size + info)

    def index(self, device: str) -> int:
        """A device's number."""
        self._send(_GET_LINK, 0, _link(0) + _name(device))
        body = next(self._answers(_NEW_LINK))
        return int(struct.unpack_from("=i", body, 4)[0])

    def without_ipv6(self, device: int, *, to_loopback: bool = False) -> None:
        """No IPv6 address comes to be on it; `to_loopback`: from it 127.0.0.0/8 may be reached."""
        quiet = _attribute(_INET6_ADDR_GEN_MODE, struct.pack("=B", _GEN_NONE))
        families = _attribute(socket.AF_INET6 | _NESTED, quiet)
        if to_loopback:
            switch = _attribute(_ROUTE_LOCALNET, struct.pack("=I", 1))
            conf = _attribute(_INET_CONF | _NESTED, switch)
            families += _attribute(socket.AF_INET | _NESTED, conf)
        self._ask(_SET_LINK, 0, _link(device) + _attribute(_IFLA_AF_SPEC | _NESTED, families))

    def up(self, device: int) -> None:
        """Switch a device on."""
        self._ask(_NEW_LINK, 0, _link(device, _IFF_UP))

    def address(self, device: int, address: str, other: str) -> None:
        """Give a device one address, and the way to the one at its other end."""
        header = struct.pack("=BBBBI", socket.AF_INET, 32, 0, _UNIVERSE, device)
        local, peer = socket.inet_aton(address), socket.inet_aton(other)
        body = _attribute(_IFA_LOCAL, local) + _attribute(_IFA_ADDRESS, peer)
        self._ask(_NEW_ADDRESS, _CREATE, header + body)

    def default_route(self, device: int, by: str) -> None:
        """The way to everywhere: through a device, by the gateway at its other end."""
        kinds = (_MAIN_TABLE, _BOOT, _UNIVERSE, _UNICAST, 0)
        header = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, *kinds)
        body = _attribute(_RTA_GATEWAY, socket.inet_aton(by))
        body += _attribute(_RTA_OIF, struct.pack("=I", device))
        self._ask(_NEW_ROUTE, _CREATE, header + body)

    def routes(self) -> Iterator[tuple[str, int]]:
        """(address, prefix length) of each IPv4 route of the machine, of all tables; the ones to
        everywhere left out.
        """
        header = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
        self._send(_GET_ROUTE, _DUMP, header)
        for body in self._answers(_NEW_ROUTE):
            length = body[1]
            for what, value in _attributes(body[12:]):
                if what == _RTA_DST and length:
                    yield socket.inet_ntoa(value[:4]), length

    def _ask(self, kind: int, flags: int, body: bytes) -> None:
        self._send(kind, flags | _ACK, body)
        for _ in self._answers(kind):
            return

    def _answers(self, wanted: int) -> Iterator[bytes]:
        """The bodies of that kind, until what was asked is answered; raises OSError if refused."""
        while True:
            for kind, body in self._messages():
                if kind == _ERROR and (number := -struct.unpack_from("=i", body)[0]):
                    raise OSError(number, f"network device: {os.strerror(number)}")
                if kind in (_ERROR, _DONE):
                    return
                if kind == wanted:
                    yield body

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._count += 1
        head = struct.pack("=IHHII", 16 + len(body), kind, flags | _REQUEST, self._count, 0)
        self._socket.send(head + body)

    def _messages(self) -> Iterator[tuple[int, bytes]]:
        data = self._socket.recv(ANSWER_BYTES)
        while len(data) >= 16:
            length, kind = struct.unpack_from("=IH", data)
            if length < 16:
                return
            yield kind, data[16:length]
            data = data[(length + 3) & ~3 :]


def _link(device: int, flags: int = 0) -> bytes:
    return struct.pack("=BxHiII", 0, 0, device, flags, flags)


def _name(name: str) -> bytes:
    return _attribute(_IFLA_IFNAME, name.encode() + b"\0")


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            return
        yield kind, data[4:length]
        data = data[(length + 3) & ~3 :]
