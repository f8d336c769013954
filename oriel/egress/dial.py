"""Owns resolving a name once, judging each address, and connecting to one that passed.

Must not know what is sent. Every step has a limit in time.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from oriel import faults
from oriel.egress.oneway import OneWay
from oriel.egress.rules import IPAddress, Refused, Rules, literal

RESOLVE_S = 5.0
CONNECT_S = 5.0
ADDRESSES_MAX = 8
READ_LIMIT = 64 * 1024
_THREADS = 32
"""Names that are looked up at the same time: some of them may never be answered."""
CHAIN_MAX = 11
"""Certificates of a chain: Heroku's nine between the receiver's own and its root."""
_Made = TypeVar("_Made")


class Unreachable(faults.Unavailable):
    """The place does not answer, or its name is not known."""


class Untrusted(Unreachable):
    """The place answered with a certificate that is not its own, or that nobody vouches for."""


@dataclass(slots=True)
class Line:
    """A connection, and the address at its other end."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    address: str

    def close(self) -> None:
        """Hang up at once."""
        with contextlib.suppress(OSError, RuntimeError):
            self.writer.transport.abort()


class Dialer:
    """The one way out. One for each process."""

    def __init__(self, rules: Rules, ca_file: str | None = None) -> None:
        """`ca_file`: who vouches for certificates; None is the system's own list."""
        self.rules = rules
        self._ca_file = ca_file
        self._contexts: dict[bool, ssl.SSLContext] = {}
        self._resolving = ThreadPoolExecutor(_THREADS, "egress-resolve")
        self._asked: dict[str, asyncio.Future[list[IPAddress]]] = {}

    def close(self) -> None:
        """Stop; a name that is being looked up is not waited for."""
        self._resolving.shutdown(wait=False, cancel_futures=True)

    async def addresses(self, host: str, timeout_s: float = RESOLVE_S) -> list[IPAddress]:
        """The addresses of a host that may be dialled; raises Refused or Unreachable."""
        found = [own] if (own := literal(host)) else await self._resolve(host, timeout_s)
        reasons = {each: self.rules.why_not(each) for each in found}
        allowed = [each for each, reason in reasons.items() if not reason]
        if not allowed:
            address, reason = next(iter(reasons.items()))
            shown = f"{host[:200]} is" if literal(host) else f"{host[:200]} is at {address},"
            raise Refused(
                f"{shown} {reason}; Oriel does not connect there.",
                hint="Who runs this server may allow it: oriel up --allow-egress NETWORK",
            )
        return allowed[:ADDRESSES_MAX]

    async def tcp(self, host: str, port: int, timeout_s: float = CONNECT_S) -> Line:
        """A connection; raises Refused or Unreachable."""
        return await self._connect(host, port, timeout_s, lambda at: _line(at, port, None, None))

    async def tls(
        self, host: str, port: int, *, verify: bool = True, timeout_s: float = CONNECT_S
    ) -> Line:
        """The same with TLS: SNI, and a certificate that is checked unless `verify` is False."""
        context, name = await self._context(verify), host.strip("[]")
        return await self._connect(host, port, timeout_s, lambda at: _line(at, port, context, name))

    async def one_way(
        self,
        host: str,
        port: int,
        *,
        tls: bool = False,
        verify: bool = True,
        timeout_s: float = CONNECT_S,
        stall_s: float = 30.0,
    ) -> OneWay:
        """A connection that only sends; one that acknowledges nothing for long breaks: for twice
        `stall_s`, for who asks it sooner."""
        context = await self._context(verify) if tls else None

        async def opened(address: IPAddress) -> OneWay:
            made = await _connected(address, port, stall_s)
            if context:
                made = await _handshaken(made, context, host.strip("[]"))
            return OneWay(made, str(address))

        return await self._connect(host, port, timeout_s, opened)

    async def udp(self, host: str, port: int) -> socket.socket:
        """A connected, non-blocking datagram socket; raises Refused or Unreachable."""
        address = (await self.addresses(host))[0]
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            made.connect((str(address), port))
        except OSError as error:
            made.close()
            raise Unreachable(_said(host, port, error)) from None
        return made

    async def _connect(
        self,
        host: str,
        port: int,
        timeout_s: float,
        opened: Callable[[IPAddress], Awaitable[_Made]],
    ) -> _Made:
        failure: Unreachable | None = None
        for address in await self.addresses(host):
            try:
                async with asyncio.timeout(timeout_s):
                    return await opened(address)
            except TimeoutError:
                failure = Unreachable(f"{host}:{port} does not answer within {timeout_s:g} s.")
            except ssl.SSLCertVerificationError as error:
                # Another address would show the same: nothing is gained by trying.
                raise Untrusted(error.verify_message or "certificate verify failed") from None
            except ssl.SSLError as error:
                failure = Unreachable(f"TLS with {host}:{port} failed: {error.reason or error}.")
            except OSError as error:
                failure = Unreachable(_said(host, port, error))
        raise failure or Unreachable(f"{host} has no address.")

    async def _resolve(self, host: str, timeout_s: float) -> Sequence[IPAddress]:
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(self._look_up(host))
        except TimeoutError:
            raise Unreachable(f"The name {host[:200]} is not found in {timeout_s:g} s.") from None
        except (OSError, UnicodeError) as error:
            said = error.strerror if isinstance(error, OSError) and error.strerror else "no name"
            raise Unreachable(f"The name {host[:200]} is not found: {said}.") from None

    def _look_up(self, host: str) -> asyncio.Future[list[IPAddress]]:
        """One look-up of a name at a time: a name that is never answered takes one thread."""
        asked = self._asked.get(host)
        if asked is None:
            loop = asyncio.get_running_loop()
            asked = self._asked[host] = loop.run_in_executor(self._resolving, _look_up, host)
            asked.add_done_callback(lambda done: self._answered(host, done))
        return asked

    def _answered(self, host: str, done: asyncio.Future[list[IPAddress]]) -> None:
        self._asked.pop(host, None)
        if not done.cancelled():
            # Nobody may be waiting any more: then nobody minds.
            done.exception()

    async def _context(self, verify: bool) -> ssl.SSLContext:
        found = self._contexts.get(verify)
        if found is None:
            # Reading the system's list takes a while.
            found = await asyncio.to_thread(_context, self._ca_file, verify)
            self._contexts[verify] = found
        return found


async def _line(
    address: IPAddress, port: int, context: ssl.SSLContext | None, name: str | None
) -> Line:
    reader, writer = await asyncio.open_connection(
        str(address), port, limit=READ_LIMIT, ssl=context, server_hostname=name
    )
    line = Line(reader, writer, str(address))
    if context:
        try:
            _check_depth(writer.get_extra_info("ssl_object"), context)
        except BaseException:
            line.close()
            raise
    return line


async def _connected(address: IPAddress, port: int, stall_s: float) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(2000 * stall_s))
        await asyncio.get_running_loop().sock_connect(made, (str(address), port))
    except BaseException:
        made.close()
        raise
    return made


async def _handshaken(made: socket.socket, context: ssl.SSLContext, name: str) -> ssl.SSLSocket:
    """TLS on a connected socket, which it takes over."""
    try:
        secure = context.wrap_socket(made, server_hostname=name, do_handshake_on_connect=False)
    except BaseException:
        made.close()
        raise
    try:
        while True:
            try:
                secure.do_handshake()
                break
            except ssl.SSLWantReadError:
                await _ready(secure.fileno(), writing=False)
            except ssl.SSLWantWriteError:
                await _ready(secure.fileno(), writing=True)
        _check_depth(secure, context)
    except BaseException:
        secure.close()
        raise
    return secure


async def _ready(fd: int, *, writing: bool) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    (loop.add_writer if writing else loop.add_reader)(fd, ready.set)
    try:
        await ready.wait()
    finally:
        (loop.remove_writer if writing else loop.remove_reader)(fd)


def _check_depth(secure: Any, context: ssl.SSLContext) -> None:
    """OpenSSL's own limit is a hundred. Where Python does not give the chain, that is it."""
    if context.verify_mode == ssl.CERT_NONE:
        return
    chain = getattr(getattr(secure, "_sslobj", None), "get_verified_chain", None)
    if chain and len(chain()) > CHAIN_MAX:
        raise Untrusted("certificate chain too long")


def _look_up(host: str) -> list[IPAddress]:
    rows = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    # getaddrinfo's order is kept; a scope is kept too, for `rules` to refuse.
    return list(dict.fromkeys(ipaddress.ip_address(str(row[4][0])) for row in rows))


def _context(ca_file: str | None, verify: bool) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=ca_file)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


def _said(host: str, port: int, error: OSError) -> str:
    said = os.strerror(error.errno) if error.errno and error.errno > 0 else "no connection"
    return f"{host}:{port}: {said}."
