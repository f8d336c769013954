"""Writes lines, as apps do: one `write` a line. Run as a program, without Oriel.

`flood PATH LINES`: as fast as it goes. `paced PATH LINES_A_SECOND SECONDS [FORM]`: each line with
the time at which it was written. `many DIRECTORY LINES_A_SECOND SECONDS`: numbered lines to all
FIFOs of `DIRECTORY/*/out` in turn. `spread DIRECTORY LINES_A_SECOND SECONDS`: lines with their
times, now to one of the FIFOs, now to the next. PATH `tcp:PORT` is a connection, with syslog
frames.
"""

import glob
import os
import socket
import sys
import time

LINE = (
    b"0123456789 at=info method=GET path=/a/b/c status=200 service=12ms "
    b"some words behind it, as apps have them..\n"
)
HEAD = b"<190>1 2011-06-19T08:35:19.123456+00:00 host t.bench web.1 - - "


def opened(path: str) -> int:
    """A descriptor to write to."""
    if path == "-":
        return 1
    if path.startswith("tcp:"):
        door = socket.create_connection(("127.0.0.1", int(path[4:])))
        return door.detach()
    return os.open(path, os.O_WRONLY)


def flood(path: str, lines: int, head: str = "") -> None:
    """The same line again and again."""
    fd = opened(path)
    line = head.encode() + LINE
    write = os.write
    size = len(line)
    for _ in range(lines):
        if write(fd, line) != size:
            raise SystemExit("a line was cut")


def paced(path: str, rate: int, seconds: float, form: str = "") -> None:
    """Lines at a rate, a few each millisecond."""
    fd = opened(path)
    start = time.monotonic()
    head = HEAD if form == "syslog" else b""
    done = 0
    while (passed := time.monotonic() - start) < seconds:
        due = int(passed * rate)
        while done < due:
            done += 1
            os.write(fd, b"%s@%d %s" % (head, time.monotonic_ns(), LINE[:85] + b"\n"))
        time.sleep(0.001)
    print(done)


def many(directory: str, rate: int, seconds: float) -> None:
    """Numbered lines, to each FIFO as many."""
    fds = [os.open(each, os.O_WRONLY) for each in sorted(glob.glob(directory + "/*/out"))]
    start = time.monotonic()
    number = 0
    while (passed := time.monotonic() - start) < seconds:
        due = int(passed * rate / len(fds))
        while number < due:
            line = b"%010d%s" % (number, LINE[10:])
            for fd in fds:
                os.write(fd, line)
            number += 1
        time.sleep(0.005)
    print(number)


def spread(directory: str, rate: int, seconds: float) -> None:
    """Lines at a rate in all, evenly: one to each FIFO in turn."""
    fds = [os.open(each, os.O_WRONLY) for each in sorted(glob.glob(directory + "/*/out"))]
    start = time.monotonic()
    done = 0
    while (passed := time.monotonic() - start) < seconds:
        due = int(passed * rate)
        while done < due:
            os.write(fds[done % len(fds)], b"@%d %s" % (time.monotonic_ns(), LINE[:85] + b"\n"))
            done += 1
        time.sleep(0.0005)
    print(done)


if __name__ == "__main__":
    what, path, *rest = sys.argv[1:]
    if what == "flood":
        flood(path, int(rest[0]), *rest[1:])
    elif what == "paced":
        paced(path, int(rest[0]), float(rest[1]), *rest[2:])
    elif what == "spread":
        spread(path, int(rest[0]), float(rest[1]))
    else:
        many(path, int(rest[0]), float(rest[1]))
