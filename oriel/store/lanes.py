"""Owns the threads that work on the database, and the bounded queues before them.

Writes wait in one lane, whose thread takes all that wait at once: what they ask is one commit
(`group`). Reads run beside each other in another. Must not know what the work is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection

from oriel.faults import Unavailable

T = TypeVar("T")

WAITING_MAX = 1000
"""How much work may wait in a lane before more is refused."""

GROUP_MAX = 64
"""How many writes are one commit at most."""

_log = logging.getLogger(__name__)


class Answer(Protocol):
    """A future, of asyncio or of a thread: whoever asked waits for it."""

    def cancelled(self) -> bool:
        """Whether nobody waits any more."""
        ...

    def done(self) -> bool:
        """Whether it has been given."""
        ...

    def set_result(self, result: Any, /) -> None:
        """Give it."""
        ...

    def set_exception(self, exception: Any, /) -> None:
        """Say why there is none."""
        ...


@dataclass(slots=True)
class Job:
    """One write, and what became of it."""

    work: Callable[[Connection], Any]
    answer: Answer
    loop: asyncio.AbstractEventLoop | None
    """Where the answer is to be given; None: in any thread."""
    result: Any = None
    error: BaseException | None = None

    def tell(self) -> None:
        """Answer who waits."""
        if self.answer.done():
            return
        if self.error is not None:
            self.answer.set_exception(self.error)
        else:
            self.answer.set_result(self.result)


def tell_all(jobs: Iterable[Job]) -> None:
    """Answer in order; those of one event loop in one turn of it."""
    by_loop: dict[asyncio.AbstractEventLoop | None, list[Job]] = {}
    for job in jobs:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, mine in by_loop.items():
        if loop is None:
            _tell(mine)
        else:
            # A loop that has ended has nobody who waits.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_tell, mine)


def _tell(jobs: Iterable[Job]) -> None:
    for job in jobs:
        job.tell()


class WriteLane:
    """One thread; `carry_out` is called in it with all that waits, oldest first."""

    def __init__(self, name: str, carry_out: Callable[[Sequence[Job]], None]) -> None:
        """Started at once."""
        self._carry_out = carry_out
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._last: Callable[[], None] = lambda: None
        self._closing = threading.Lock()
        self._closed = False
        # Whoever ends without closing has been killed, as far as the database is concerned.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a write; raises Unavailable when the queue is full or closed."""
        with self._closing:  # so that nothing comes in behind the end
            if self._closed:
                raise _closed()
            if self._waiting.qsize() >= WAITING_MAX:
                raise _full()
            self._waiting.put(job)

    def close(self, last: Callable[[], None]) -> None:
        """Finish what is queued, then run `last` in the lane's thread, and end."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._last = last
                self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_open = True
        while is_open:
            jobs = [job] if (job := self._waiting.get()) else []
            is_open = job is not None
            while is_open and len(jobs) < GROUP_MAX:
                try:
                    job = self._waiting.get_nowait()
                except queue.Empty:
                    break
                is_open = job is not None
                jobs += [job] if job else []
            # Of one whose caller was cancelled before it began, nothing is done.
            if jobs := [each for each in jobs if not each.answer.cancelled()]:
                self._attempt(jobs)
        try:
            self._last()
        except Exception:
            _log.exception("the end of the database's writer went wrong")

    def _attempt(self, jobs: Sequence[Job]) -> None:
        try:
            self._carry_out(jobs)
        except BaseException as error:
            # A mistake of our own must not end the thread: everybody would wait for ever.
            for job in jobs:
                job.error = job.error or error
            tell_all(jobs)


class ReadLane:
    """Some threads and a bounded queue before them."""

    def __init__(self, name: str, threads: int) -> None:
        """Threads are started as they are needed."""
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._room = threading.BoundedSemaphore(WAITING_MAX)

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Queue `work`; raises Unavailable when the queue is full or closed."""
        if not self._room.acquire(blocking=False):
            raise _full()
        try:
            future = self._pool.submit(work)
        except RuntimeError:
            self._room.release()
            raise _closed() from None
        future.add_done_callback(lambda _: self._room.release())
        return future

    def close(self) -> None:
        """Finish what is queued, and end."""
        self._pool.shutdown(wait=True)


def _full() -> Unavailable:
    return Unavailable("Too much is waiting for the database.", hint="Try again in a moment.")


def _closed() -> Unavailable:
    return Unavailable("The database is closed: Oriel is stopping.")
