"""Owns reading lines that keep coming: Server-Sent Events, and going on after a break.

What was passed on is never passed on twice: each event carries the position after it, and the
next connection asks for what follows. Must not know what a line says, or terminals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from oriel.client.address import target_of
from oriel.client.refusal import UNREACHABLE, Refusal
from oriel.client.wire import Client, Stream

SILENCE_S = 60.0
"""A stream that gives nothing for so long, not even a keep-alive, is dead."""

TRIES_TAIL = 30
TRIES_HISTORY = 3
PAUSE_MAX_S = 5.0
LINE_MAX = 16 << 20

_GONE = (401, 403, 404, 410)
"""How a log session answers that has expired; `unavailable` comes while a part restarts."""

Event = tuple[str, list[bytes]]


def follow(client: Client, open_session: Callable[[], str], *, tail: bool) -> Iterator[list[bytes]]:
    """The lines of a log session, some at a time; for ever with `tail`.

    `open_session` asks the API for a session and returns its URL. A break is followed by another
    connection; after too many without a sign of life in between, the last refusal is raised.
    """
    reading = _Reading(client, open_session)
    tries = 0
    while True:
        refusal: Refusal | None = None
        try:
            yield from reading.once()
            if not tail:
                return
        except Refusal as problem:
            if not reading.worth_another(problem):
                raise
            refusal = problem
        tries = 1 if reading.alive else tries + 1
        if tries > (TRIES_TAIL if tail else TRIES_HISTORY):
            raise refusal or _ended(client)
        client.pause(min(PAUSE_MAX_S, 0.1 * 2 ** min(tries, 10)))


class _Reading:
    """Where a reader of a channel is."""

    def __init__(self, client: Client, open_session: Callable[[], str]) -> None:
        self._client = client
        self._open_session = open_session
        self._url = ""
        self._position = ""
        self._anything = False
        self.alive = False
        """Whether the last connection gave any sign of life."""

    def once(self) -> Iterator[list[bytes]]:
        """The lines of one connection."""
        self.alive = False
        if not self._url:
            self._url = self._open_session()
        target = target_of(self._url)
        with self._client.stream(target, after=self._position, timeout_s=SILENCE_S) as stream:
            for position, lines in events(stream.chunks()) if stream.events else plain(stream):
                self.alive = self._anything = True
                self._position = position or self._position
                if lines:
                    yield lines

    def worth_another(self, problem: Refusal) -> bool:
        """Whether to connect again after a refusal."""
        if problem.status in _GONE and self._url and self._position:
            # The session has expired; a new one goes on from the same position.
            self._url = ""
            return True
        lost = self._anything and not self._position
        return problem.id in (UNREACHABLE, "unavailable") and self._started and not lost

    @property
    def _started(self) -> bool:
        # The very first session that cannot be opened is not a break: say so at once.
        return bool(self._url) or bool(self._position)


def events(chunks: Iterable[bytes]) -> Iterator[Event]:
    """Server-Sent Events: the id and the data lines of each; comments come as empty ones.

    Only a newline ends a line: what an app wrote may hold a carriage return.
    """
    position, data = "", list[bytes]()
    for line in _lines(chunks):
        if not line:
            yield position, data
            data = []
            continue
        field, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if field == b"data":
            data.append(value)
        elif field == b"id" and b"\0" not in value:
            position = value.decode("latin-1")


def plain(stream: Stream) -> Iterator[Event]:
    """Lines without positions, as a plainer server gives them."""
    for line in _lines(stream.chunks(), unfinished=True):
        yield "", [line]


def _lines(chunks: Iterable[bytes], unfinished: bool = False) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
        if len(rest) > LINE_MAX:
            raise Refusal(f"A line of over {LINE_MAX >> 20} MB came.", id="too_large")
    if rest and unfinished:
        yield rest


def _ended(client: Client) -> Refusal:
    return Refusal(
        f"The log stream of {client.address} keeps ending.",
        id=UNREACHABLE,
        hint="Try again in a moment.",
    )
