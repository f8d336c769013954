"""Owns being the process that tries a pattern; `matcher` starts it. Imports nothing of Oriel.

An alarm ends it in the middle of a search that takes too long, and it has little memory.
"""

import re
import resource
import signal
import struct
import sys
from typing import BinaryIO

_SLOW_S = 2
_MEMORY_BYTES = 256 * 1024 * 1024
_COUNT = struct.Struct("<II")


def _tried(requests: BinaryIO, answers: BinaryIO) -> None:
    """A pattern, then lines; one byte for each."""
    size, _ = _COUNT.unpack(requests.read(_COUNT.size))
    pattern = requests.read(size)
    signal.alarm(_SLOW_S)
    try:
        find = re.compile(pattern).search
    except (re.error, OverflowError, RecursionError, MemoryError):
        answers.write(b"\0")
        return
    answers.write(b"\1")
    answers.flush()
    signal.alarm(0)
    while len(head := requests.read(_COUNT.size)) == _COUNT.size:
        size, count = _COUNT.unpack(head)
        lines = requests.read(size).split(b"\n")[:count]
        signal.alarm(_SLOW_S)
        answers.write(bytes(find(line) is not None for line in lines))
        answers.flush()
        signal.alarm(0)


def main() -> None:
    """Serve until the other side hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _tried(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
