"""Owns the conversation with the hook of one push, over three named pipes.

`asked` brings the ref updates, `said` streams to the pusher, `verdict` ends it. Must not know
what is decided. Everything that comes out of the sandbox is bounded and read as text of a
stranger; a hook that dies in between is an end of file, never a wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from oriel.builder import git
from oriel.builder.bench import own, write_pipe
from oriel.builder.push import Asked, RefUpdate, read
from oriel.faults import Invalid, Unavailable
from oriel.sandbox import Bind

ASKED_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Push:
    """A push that waits for its verdict, as `on_push` sees it.

    It brings something to deploy: a push that only stores other refs never comes as far.
    """

    updates: tuple[RefUpdate, ...]
    commit: str
    """What is to be deployed."""
    ref: str
    """The branch that moves there: `refs/heads/main` or `refs/heads/master`."""
    _say: Callable[[str], Awaitable[None]]
    _unpack: Callable[[str, Path], Awaitable[None]]

    async def say(self, text: str) -> None:
        """Show `text` to the pusher, at once."""
        await self._say(text)

    async def unpack(self, commit: str, into: Path) -> None:
        """Write a pushed commit's files into `into`, owned by the app's uid.

        Raises Invalid or TooLarge for what no slug may hold, before anything is written.
        """
        await self._unpack(commit, into)


class Exchange:
    """The pipes of one push and the hooks that know them, below `place`. Close it."""

    def __init__(self, place: Path, uid: int, patience_s: float) -> None:
        """`patience_s`: how long the pusher may take no text before the push ends."""
        self._pipes = place / "pipes"
        self._hooks = place / "hooks"
        self._patience_s = patience_s
        self._open: set[int] = set()
        self._reader = asyncio.StreamReader(limit=ASKED_BYTES_MAX)
        self._asking: asyncio.ReadTransport | None = None
        self._saying = asyncio.Lock()
        self._heard = False
        """Whether the hook listens to what is said."""
        self._concluded = False
        self.accepted = False
        """Set before the hook learns of it: from then on the ref may move."""
        self._make(uid)

    @property
    def binds(self) -> tuple[Bind, ...]:
        """What the sandbox must show. A pipe may be written to through a read-only mount."""
        return (Bind(self._hooks, git.HOOKS), Bind(self._pipes, git.EXCHANGE))

    def _make(self, uid: int) -> None:
        self._hooks.mkdir()
        self._hooks.chmod(0o755)  # whatever the umask: the app's uid must find them
        for name, text in git.HOOK_TEXTS.items():
            hook = self._hooks / name
            hook.write_text(text)
            hook.chmod(0o755)
        self._pipes.mkdir()
        self._pipes.chmod(0o755)
        for name in git.FIFOS:
            os.mkfifo(self._pipes / name, 0o600)
            own(self._pipes / name, uid)
        self._asked_fd = self._opened("asked", os.O_RDONLY)
        # Read and write: so that the hook's own open never waits for ours.
        self._said_fd = self._opened("said", os.O_RDWR)
        self._verdict_fd = self._opened("verdict", os.O_RDWR)

    def _opened(self, name: str, how: int) -> int:
        flags = how | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._pipes / name, flags)
        self._open.add(descriptor)
        return descriptor

    async def hello(self) -> bool:
        """Wait for the hook; False when it is gone. It waits for `go` or `conclude`."""
        loop = asyncio.get_running_loop()
        self._asking, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self._reader),
            os.fdopen(os.dup(self._asked_fd), "rb", 0),
        )
        if await self._line() != "hello":
            return False
        # The hook has its ends open now: the one for saying can be opened for writing only.
        both_ways = self._said_fd
        try:
            self._said_fd = self._opened("said", os.O_WRONLY)
        except OSError:
            return False  # it has ended in the same moment
        self._shut(both_ways)
        self._heard = True
        return True

    async def updates(self) -> Asked:
        """Let the hook go on, and take what it hands over."""
        self._tell(git.GO)
        lines: list[str] = []
        size = 0
        while (line := await self._line()) != "end":
            size += len(line) + 1
            if not line or size > ASKED_BYTES_MAX:
                raise Invalid("The push could not be read: it moves too many refs.")
            lines.append(line + "\n")
        return read("".join(lines))

    async def _line(self) -> str:
        """The next line; empty when the hook is gone."""
        try:
            line = await self._reader.readuntil(b"\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return ""
        return line[:-1].decode("utf-8", "backslashreplace")

    async def say(self, text: str) -> None:
        """Show text to the pusher; waits while it is not taken, but not for ever."""
        if not self._heard:
            return
        try:
            async with self._saying, asyncio.timeout(self._patience_s):
                await write_pipe(self._said_fd, text.encode("utf-8", "replace"))
        except TimeoutError:
            raise Unavailable("The pusher takes no output any more.") from None
        except BrokenPipeError:
            raise Unavailable("The push has ended.") from None

    def conclude(self, accepted: bool) -> None:
        """Give the verdict, once; the hook shows what was said before it looks at that."""
        if self._concluded:
            return
        self._concluded = True
        self._heard = False
        self.accepted = accepted
        self._shut(self._said_fd)
        self._tell(git.ACCEPT if accepted else git.REJECT)

    def _tell(self, word: str) -> None:
        with contextlib.suppress(OSError):
            os.write(self._verdict_fd, word.encode() + b"\n")

    def _shut(self, descriptor: int) -> None:
        if descriptor in self._open:
            self._open.discard(descriptor)
            os.close(descriptor)

    def close(self) -> None:
        """End the conversation; a hook that still waits for a verdict is refused."""
        if self._asking:
            self._asking.close()
        for descriptor in list(self._open):
            self._shut(descriptor)
