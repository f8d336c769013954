"""Takes what drains send. Run as a program, without Oriel; the first line it prints is its port.

`count`: syslog over TCP; prints the number of lines so far each time it is asked by a line on its
standard input. `http [CERTIFICATE KEY]`: the same for POSTs, over TLS where there is a certificate.
`late`: lines that `writers.py` has stamped; at the end of its standard input it prints how late
each was, in milliseconds, as JSON.
"""

import json
import selectors
import socket
import ssl
import sys
import threading
import time


class Count:
    """Lines so far."""

    lines = 0


def listening() -> socket.socket:
    """A socket at a port of the kernel's choice, which is printed."""
    door = socket.create_server(("127.0.0.1", 0), backlog=512)
    print(door.getsockname()[1], flush=True)
    return door


def count(door: socket.socket) -> None:
    """Count the newlines of all connections."""
    while True:
        line, _ = door.accept()
        threading.Thread(target=_counted, args=[line], daemon=True).start()


def _counted(line: socket.socket) -> None:
    buffer = bytearray(1 << 20)
    with line:
        while size := line.recv_into(buffer):
            Count.lines += buffer.count(b"\n", 0, size)


def posts(door: socket.socket, context: ssl.SSLContext | None) -> None:
    """Take each POST, answer 204."""
    while True:
        line, _ = door.accept()
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context:
            line = context.wrap_socket(line, server_side=True)
        threading.Thread(target=_posted, args=[line], daemon=True).start()


def _posted(line: socket.socket) -> None:
    with line, line.makefile("rb", 1 << 17) as text:
        while text.readline():
            size = 0
            while header := text.readline().strip():
                name, _, value = header.partition(b":")
                if name.lower() == b"content-length":
                    size = int(value)
            body = text.read(size)
            line.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            Count.lines += body.count(b"\n")


def late(door: socket.socket) -> None:
    """How late stamped lines are, until standard input ends."""
    late_ms: list[float] = []
    rests: dict[socket.socket, bytes] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(door, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is sys.stdin:
                    print(json.dumps(late_ms), flush=True)
                    return
                if key.fileobj is door:
                    caller, _ = door.accept()
                    rests[caller] = b""
                    selector.register(caller, selectors.EVENT_READ)
                    continue
                line = key.fileobj
                assert isinstance(line, socket.socket)
                data = line.recv(1 << 20)
                now = time.monotonic_ns()
                if not data:
                    selector.unregister(line)
                    line.close()
                    continue
                *lines, rests[line] = (rests[line] + data).split(b"\n")
                for each in lines:
                    stamp = each.partition(b" - - @")[2].partition(b" ")[0]
                    if stamp:
                        late_ms.append((now - int(stamp)) / 1e6)


def _answer() -> None:
    for _ in sys.stdin:
        print(Count.lines, flush=True)


def main() -> None:
    """As the words say."""
    what, *rest = sys.argv[1:]
    door = listening()
    if what == "late":
        late(door)
        return
    context = None
    if rest:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*rest)
    work = (lambda: posts(door, context)) if what == "http" else (lambda: count(door))
    threading.Thread(target=work, daemon=True).start()
    _answer()


if __name__ == "__main__":
    main()
