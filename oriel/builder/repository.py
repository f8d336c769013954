"""Owns the apps' git repositories: making them, serving fetches, receiving pushes.

The one shell over git's own programs. Must not know releases, builds or HTTP: what a push leads to
is asked of `on_push`, whose answer is the verdict. Nothing of a repository is read by this
process itself; whatever looks into one runs in the sandbox as the app's uid.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

from oriel.builder import git
from oriel.builder.bench import Bench, Errors, Output, Overdue, own, place_for
from oriel.builder.client import Client, Send
from oriel.builder.exchange import Exchange, Push
from oriel.builder.limits import Limits, human_size
from oriel.builder.manifest import Manifest
from oriel.builder.push import Asked, RefUpdate, decide
from oriel.builder.transcript import refusal
from oriel.clock import Clock
from oriel.faults import (
    BadRequest,
    Broken,
    Conflict,
    Fault,
    Invalid,
    NotFound,
    Unavailable,
)
from oriel.sandbox import Bind, Confinement, Exit, Sandboxes

OnPush = Callable[[Push], Awaitable[bool]]
MakeWay = Callable[[], Awaitable[bool]]

PLACES = "push-"
"""What the directories of git's running programs begin with, in DATA/builds."""

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_GRACE_S = 2.0
"""For git to end by itself when a push is given up: only then it removes what was pushed."""
_WAY_S = 20.0
"""How long a push waits for one that makes way to tell its pusher so."""
_OWN_MISTAKE = " !     Oriel itself failed; nothing was deployed. Its own log says why.\n"


class Repositories:
    """The bare repositories below DATA/repos."""

    def __init__(
        self, data: Path, sandboxes: Sandboxes, clock: Clock, limits: Limits | None = None
    ) -> None:
        """Nothing is touched yet."""
        self._repositories = data / "repos"
        self._places = data / "builds"
        self._bench = Bench(sandboxes)
        self._clock = clock
        self._limits = limits or Limits()
        self._pushing: dict[str, asyncio.Event] = {}
        self._receiving: Counter[str] = Counter()

    async def create(self, app_id: str, uid: int) -> None:
        """Make an app's repository, unless it is there."""
        path = self._path(app_id)
        if (path / "objects" / "info").is_dir():  # the last that git makes
            return
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        own(path, uid)
        await self._chore(git.INIT, app_id, uid, writable=True)

    def exists(self, app_id: str) -> bool:
        """Whether there is anything of an app's repository."""
        return self._path(app_id).exists()

    async def remove(self, app_id: str) -> None:
        """Remove an app's repository, if there is one."""
        path = self._path(app_id)
        if path.exists():
            await asyncio.to_thread(shutil.rmtree, path)

    def size_bytes(self, app_id: str) -> int:
        """What the repository takes on disk."""
        total = 0
        for directory, _, files in os.walk(self._path(app_id)):
            for name in files:
                with contextlib.suppress(OSError):
                    total += os.lstat(os.path.join(directory, name)).st_size
        return total

    async def advertise(self, app_id: str, uid: int, service: str, protocol: str = "") -> bytes:
        """The whole answer to `info/refs`; `protocol` is the request's Git-Protocol header."""
        if service not in git.SERVICES:
            raise BadRequest(f"Git has no service {ascii(service[:40])}.")
        header = git.service_header(service)
        pushes = service == "git-receive-pack"
        if pushes and (why := await self._no_room(app_id)):
            return header + git.packet(f"ERR {why}")
        answer = bytearray() if _is_v2(protocol) and not pushes else bytearray(header)

        async def take(piece: bytes) -> None:
            answer.extend(piece)

        env = {} if pushes else git.protocol(protocol)
        await self._chore(git.advertise(service), app_id, uid, env=env, output=take)
        return bytes(answer)

    async def upload_pack(
        self, app_id: str, uid: int, body: AsyncIterator[bytes], send: Send, protocol: str = ""
    ) -> None:
        """Answer one request of a fetch or clone."""
        client = Client(body, send, self._limits)
        what = self._confinement(
            git.serve("git-upload-pack"), app_id, uid, env=git.protocol(protocol)
        )
        with place_for(self._places, PLACES) as place:
            await self._serve(what, place, client)

    async def receive_pack(
        self,
        app_id: str,
        uid: int,
        body: AsyncIterator[bytes],
        send: Send,
        on_push: OnPush,
        make_way: MakeWay | None = None,
    ) -> None:
        """Receive one push; `on_push` is asked when it brings something to deploy, `make_way` when
        another one is being deployed: True says that it will end in a moment.

        When this is cancelled, or the pusher goes, before the verdict, nothing has happened: what
        runs is ended, the ref stays, the objects are gone. `on_push` is cancelled too; if it
        returns True all the same, the push counts as accepted. After that the ref moves, whether
        or not anybody listens.
        """
        client = Client(body, send, self._limits, pushes=True)
        await self._tidy(app_id, uid)
        room = min(await self._room_bytes(app_id), self._limits.push_bytes_max)
        with (
            place_for(self._places, PLACES) as place,
            contextlib.closing(Exchange(place, uid, self._limits.idle_s)) as exchange,
            contextlib.ExitStack() as turn,
        ):
            self._receiving[app_id] += 1
            turn.callback(self._receiving.subtract, [app_id])
            what = self._confinement(
                git.serve("git-receive-pack"),
                app_id,
                uid,
                env=git.environment(self._limits, room),
                writable=True,
                also=exchange.binds,
            )
            serving = asyncio.create_task(self._serve(what, place, client))
            talking = asyncio.create_task(
                self._talk(app_id, uid, exchange, on_push, turn, make_way)
            )
            try:
                await _together(serving, talking, client)
            except BaseException:
                talking.cancel()
                client.dismiss()
                await asyncio.gather(talking, return_exceptions=True)
                patience_s = self._limits.finish_s if exchange.accepted else _GRACE_S
                await asyncio.wait({serving}, timeout=patience_s)
                raise
            finally:
                serving.cancel()
                talking.cancel()
                await asyncio.gather(serving, talking, return_exceptions=True)

    async def _talk(
        self,
        app_id: str,
        uid: int,
        exchange: Exchange,
        on_push: OnPush,
        turn: contextlib.ExitStack,
        make_way: MakeWay | None,
    ) -> None:
        """Everything that is said between a push's hook and `on_push`."""
        if not await exchange.hello():
            return
        accepted = False
        try:
            await self._take_turn(app_id, turn, make_way)
            asked = await exchange.updates()
            decision = decide(asked)
            for note in decision.notes:
                await exchange.say(f"-----> {note}\n")
            accepted = True
            if decision.deploys:
                accepted = False
                accepted = await on_push(self._push(app_id, uid, exchange, asked, decision.deploys))
        except Fault as fault:
            with contextlib.suppress(Unavailable):
                await exchange.say(refusal(fault))
        except Exception:
            with contextlib.suppress(Unavailable):
                await exchange.say(_OWN_MISTAKE)
            raise
        finally:
            exchange.conclude(accepted)

    async def _take_turn(
        self, app_id: str, turn: contextlib.ExitStack, make_way: MakeWay | None
    ) -> None:
        """One push at a time for an app, until its ref has moved."""
        if (over := self._pushing.get(app_id)) and make_way and await make_way():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_WAY_S):
                    await over.wait()
        if app_id in self._pushing:
            raise Conflict(
                "Another push to this app is being deployed.",
                hint="Wait until it is done, then push again.",
            )
        over = self._pushing[app_id] = asyncio.Event()
        turn.callback(over.set)
        turn.callback(self._pushing.pop, app_id)

    def _push(
        self, app_id: str, uid: int, exchange: Exchange, asked: Asked, deploys: RefUpdate
    ) -> Push:
        waiting = git.waiting_objects(asked.quarantine)

        async def unpack(commit: str, into: Path) -> None:
            await self._unpack(app_id, uid, commit, into, waiting)

        return Push(asked.updates, deploys.new, deploys.ref, exchange.say, unpack)

    async def _unpack(
        self, app_id: str, uid: int, commit: str, into: Path, waiting: Mapping[str, str]
    ) -> None:
        if not _COMMIT.fullmatch(commit):
            raise Invalid(f"{ascii(commit[:80])} is not a commit.")
        manifest = Manifest(self._limits)

        async def take(piece: bytes) -> None:
            manifest.feed(piece)

        await self._chore(git.list_tree(commit), app_id, uid, env=waiting, output=take)
        manifest.finish()
        if self._free_bytes() - manifest.size_bytes < self._limits.free_bytes_min:
            raise Unavailable("The server's disk is too full for this tree.", hint="oriel doctor")
        into.mkdir(parents=True, exist_ok=True, mode=0o755)
        own(into, uid)
        await self._chore(
            git.check_out(commit),
            app_id,
            uid,
            env={**waiting, **git.CHECKOUT_ENV},
            also=(Bind(into, git.TREE, writable=True),),
        )

    async def _tidy(self, app_id: str, uid: int) -> None:
        """Remove the objects of pushes that a kill of the platform cut off."""
        objects = self._path(app_id) / "objects"
        left = [path.name for path in objects.glob("tmp_objdir-*")]
        if left and not self._receiving[app_id]:
            places = (f"{git.REPOSITORY}/objects/{name}" for name in left[:1000])
            await self._chore(("rm", "-rf", "--", *places), app_id, uid, writable=True)

    async def _chore(
        self,
        argv: tuple[str, ...],
        app_id: str,
        uid: int,
        *,
        env: Mapping[str, str] | None = None,
        output: Output | None = None,
        writable: bool = False,
        also: tuple[Bind, ...] = (),
    ) -> None:
        """Run one of git's programs to its end; Broken when it fails."""
        errors = Errors()
        what = self._confinement(argv, app_id, uid, env=env, writable=writable, also=also)
        with place_for(self._places, PLACES) as place:
            try:
                exit_ = await self._bench.run(
                    what,
                    place=place,
                    output=output or _ignore,
                    errors=errors,
                    timeout_s=self._limits.chore_s,
                )
            except Overdue:
                raise Unavailable(f"git took longer than {self._limits.chore_s:.0f} s.") from None
        if exit_.code != 0:
            raise Broken(f"git failed with status {exit_.code}: {errors.last_line}")

    async def _serve(self, what: Confinement, place: Path, client: Client) -> None:
        """Let git answer one request."""
        errors = Errors()
        try:
            exit_ = await self._bench.run(
                what,
                place=place,
                output=client.send,
                errors=errors,
                feed=client.pieces(),
                timeout_s=self._limits.push_s,
            )
        except Overdue:
            raise Unavailable(
                f"The transfer took longer than {self._limits.push_s / 60:.0f} minutes."
            ) from None
        if exit_.code != 0 and not client.begun:
            raise _failure(exit_, errors)

    async def _no_room(self, app_id: str) -> str:
        """Why no push can be taken now; empty when it can."""
        if await self._room_bytes(app_id) <= 0:
            return _full(self._limits)
        if self._free_bytes() < self._limits.free_bytes_min:
            return "The server's disk is nearly full, so Oriel takes no push now."
        return ""

    def _free_bytes(self) -> int:
        disk = os.statvfs(self._repositories)
        return disk.f_bavail * disk.f_frsize

    async def _room_bytes(self, app_id: str) -> int:
        """How much the repository may still grow."""
        taken = await asyncio.to_thread(self.size_bytes, app_id)
        return self._limits.repository_bytes_max - taken

    def _confinement(
        self,
        argv: tuple[str, ...],
        app_id: str,
        uid: int,
        *,
        env: Mapping[str, str] | None = None,
        writable: bool = False,
        also: tuple[Bind, ...] = (),
    ) -> Confinement:
        path = self._path(app_id)
        if not path.is_dir():
            raise NotFound("The app has no repository.", resource="app")
        whole = {**git.environment(self._limits), **(env or {})}
        return git.confinement(
            argv, uid=uid, repository=path, env=whole, writable=writable, also=also
        )

    def _path(self, app_id: str) -> Path:
        return self._repositories / f"{app_id}.git"


async def _together(
    serving: asyncio.Task[None], talking: asyncio.Task[None], client: Client
) -> None:
    """Until git is done; a conversation that fails is told after git has said so itself."""
    await asyncio.wait({serving, client.gone}, return_when=asyncio.FIRST_COMPLETED)
    if not serving.done():
        client.gone.result()
    if talking.done() and not talking.cancelled():
        talking.result()
    serving.result()


def _failure(exit_: Exit, errors: Errors) -> Fault:
    line = errors.last_line
    if "protocol error" in line or "bad line length" in line or "hung up" in line:
        return BadRequest(f"git could not read the request: {line}")
    return Broken(f"git failed with status {exit_.code}: {line}")


def _full(limits: Limits) -> str:
    return (
        f"The app's repository has reached {human_size(limits.repository_bytes_max)}, the most "
        "that Oriel keeps. Take large files out of its history, or make the app anew."
    )


def _is_v2(protocol: str) -> bool:
    return protocol == "version=2"


async def _ignore(_: bytes) -> None:
    return None
