"""Owns reading what running processes use, and where they listen, off /proc.

For machines where no control group can be asked, and for what none knows. Must not know why.
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import os
import struct
from collections.abc import Iterable, Iterator

from oriel.sandbox.cgroups import Used

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_LISTENING = "0A"
DESCRIPTORS_MAX = 20_000
THREADS_MAX = 256
STAT_BYTES_MAX = 1024


def sampled(pids: Iterable[int]) -> Used:
    """What these processes use together. Memory that they share is counted for each: this errs
    towards telling too soon.
    """
    memory = swap = ticks = count = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/statm") as file:
                words = file.read().split()
            with open(f"/proc/{pid}/stat", "rb") as raw:
                stat = raw.read()
        except OSError:
            continue
        count += 1
        memory += (int(words[1]) - int(words[2])) * _PAGE  # resident, less pages of files
        ticks += sum(int(word) for word in stat[stat.rindex(b")") + 2 :].split()[11:15])
        swap += _swapped(pid)
    return Used(memory, swap, ticks / _TICKS, count)


def _swapped(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("VmSwap:"):
                return int(line.split()[1]) * 1024
    return 0


def threads(pids: Iterable[int]) -> Iterator[int]:
    """The threads of these processes."""
    for pid in pids:
        with contextlib.suppress(OSError):
            yield from map(int, os.listdir(f"/proc/{pid}/task"))


def busy(threads: Iterable[int]) -> bool:
    """Whether one of these threads runs or could, or waits for a disk."""
    for thread in itertools.islice(threads, THREADS_MAX):
        with contextlib.suppress(OSError), open(f"/proc/{thread}/stat", "rb", 0) as file:
            stat = file.read(STAT_BYTES_MAX)
            if stat[stat.rindex(b")") + 2 :][:1] in (b"R", b"D"):
                return True
    return False


def on_disk(child: int, places: Iterable[str]) -> int:
    """What a sandbox has written to places that lie in memory, in bytes: its disk."""
    used = 0
    for place in places:
        with contextlib.suppress(OSError):
            seen = os.statvfs(f"/proc/{child}/root{place}")
            used += (seen.f_blocks - seen.f_bfree) * seen.f_frsize
    return used


def listening(child: int, pids: Iterable[int], *, own_network: bool) -> list[tuple[str, int]]:
    """(address, port) of every TCP socket on which these processes accept connections."""
    mine = None if own_network else _sockets(pids)
    found: set[tuple[str, int]] = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), open(f"/proc/{child}/net/{table}") as file:
            next(file, None)
            for line in file:
                words = line.split()
                if words[3] == _LISTENING and (mine is None or words[9] in mine):
                    found.add(parse_address(words[1]))
    return sorted(found)


def parse_address(text: str) -> tuple[str, int]:
    """`0100007F:1F90` of /proc/net/tcp, four bytes of the machine's own order at a time."""
    address, port = text.split(":")
    words = [int(address[i : i + 8], 16) for i in range(0, len(address), 8)]
    packed = b"".join(struct.pack("=I", word) for word in words)
    return str(ipaddress.ip_address(packed)), int(port, 16)


def _sockets(pids: Iterable[int]) -> set[str]:
    found: set[str] = set()
    for pid in pids:
        try:
            descriptors = os.listdir(f"/proc/{pid}/fd")[:DESCRIPTORS_MAX]
        except OSError:
            continue
        for each in descriptors:
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/{pid}/fd/{each}")
                if target.startswith("socket:["):
                    found.add(target[8:-1])
    return found
