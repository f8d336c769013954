"""In a network namespace of its own: connection tracking begins in the middle of a handshake.

`python -m tests.router.tracked DIRECTORY` prints the port that the dyno was told, and ours.
"""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

from oriel.authority import Authority
from oriel.clock import SystemClock
from oriel.router import Certificate, Listen, RouteTable

from .conftest import Dyno, House, app, free_port, until

TRACKING = """table inet tracking {
  chain input { type filter hook input priority 0; ct state established accept; }
}"""
ASKED = b"GET / HTTP/1.1\r\nHost: foo.localhost\r\nConnection: close\r\n\r\n"


def visit(port: int, dyno: Dyno) -> int:
    """One request over TLS; the client's port."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(came, goes, server_hostname="foo.localhost")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        begun = False
        while True:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                hello = goes.read()
            if not begun:
                # The first that is tracked is the server's acknowledgment of half a greeting.
                client.sendall(hello[:50])
                subprocess.run(["nft", "-f", "-"], input=TRACKING.encode(), check=True)
                time.sleep(0.2)  # it is sent 40 ms later, and nothing shows it
                begun, hello = True, hello[50:]
            client.sendall(hello)
            came.write(client.recv(65536))
        session.write(ASKED)
        client.sendall(goes.read())
        until(lambda: dyno.requests, "it reaches the dyno")
        return int(client.getsockname()[1])


def main(directory: Path) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    house = House(directory)
    try:
        authority = Authority.open(directory / "authority.pem", SystemClock())
        fallback = Certificate(authority.sign(frozenset(("apps.x",)))[0].decode(), ("apps.x",))
        port, dyno = free_port(), house.dyno("up")
        routes = RouteTable((app("foo", house.server(dyno)),), (), fallback)
        house.serve(routes, web_tls=Listen("127.0.0.1", port))
        own = visit(port, dyno)
        told = re.search(rb"x-forwarded-port: (\d+)\r\n", dyno.requests[-1].lower())
        assert told
        print(int(told[1]), port, own)
    finally:
        house.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
