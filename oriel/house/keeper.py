"""Owns what stays behind when the platform stops and dynos go on: their FIFOs, held open.

Must not know anything: it is run as a file, imports nothing of Oriel, reads nothing and writes
nothing. It inherits the descriptors and waits until the next `oriel up`, which has opened the
FIFOs itself by then, ends it with SIGTERM. Without it a dyno's next word would kill it (SIGPIPE).
"""

from __future__ import annotations

import signal


def main() -> None:
    """Hold whatever was inherited until SIGTERM."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main()
