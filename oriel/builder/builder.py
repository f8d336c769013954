"""Owns turning a pushed tree into a slug: the one shell over detection, plans, cache and shelf.

Must not know git, releases or who pushed. Whatever is of the app (its code, its dependencies'
build scripts, its cache) is run and written inside the sandbox, as the app's uid; this process
only renames the finished tree.
"""

from __future__ import annotations

import asyncio
import codecs
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oriel.builder import builds, cache, detect, interpreters, scales
from oriel.builder.bench import Bench, own
from oriel.builder.limits import Limits, human_size
from oriel.builder.recipe import APP, CACHE, SCRATCH, UV, Language, Machine, Plan, Step, Tree
from oriel.builder.repository import PLACES
from oriel.builder.shelf import Shelf
from oriel.builder.transcript import Transcript
from oriel.builder.tree import OWN, Refused, read_text
from oriel.clock import Clock
from oriel.faults import Invalid, Unavailable
from oriel.sandbox import Bind, Confinement, Sandboxes
from oriel.store.database import Database

_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_WATCH_S = 5.0
_STEERING = ("UV_", "PIP_")
_STILL_RUNNING = "The lines above say why. The app goes on with its last release."


@dataclass(frozen=True, slots=True)
class Environment:
    """What this installation gives to every build."""

    env: Mapping[str, str] = field(default_factory=dict)
    """For instance a mirror's address or a proxy; wins over config vars."""
    binds: tuple[Bind, ...] = ()
    """For instance a directory of wheels."""
    reach: tuple[int, ...] = ()
    """Ports of this machine's loopback: the mirror's or proxy's."""
    python_places: tuple[str, ...] = interpreters.PLACES
    uv: Path = Path(sys.executable).parent / "uv"


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """One tree to build: it lies in `workspace`/app and belongs to `uid`."""

    build_id: str
    app_id: str
    uid: int
    workspace: Path
    commit: str
    config: Mapping[str, str]
    """The app's config vars, given to the build as its environment."""


@dataclass(frozen=True, slots=True)
class BuiltSlug:
    """A slug on its shelf."""

    digest: str
    path: Path
    process_types: dict[str, str]
    size_bytes: int
    language: str


class Builder:
    """Builds slugs, a few at a time."""

    def __init__(
        self,
        data: Path,
        sandboxes: Sandboxes,
        clock: Clock,
        limits: Limits | None = None,
        *,
        environment: Environment | None = None,
    ) -> None:
        """Nothing is touched yet."""
        self._data = data
        self._bench = Bench(sandboxes)
        self._clock = clock
        self._limits = limits or Limits()
        self._environment = environment or Environment()
        self._shelf = Shelf(data / "slugs")
        self._turns = asyncio.Semaphore(self._limits.builds_at_once)

    async def workspace(self, build_id: str, uid: int) -> Path:
        """A new workspace: the tree goes to `app` in it. It is gone when the build is over."""
        place = self._workspace(build_id)
        place.mkdir(parents=True, mode=0o700)
        (place / "app").mkdir(mode=0o755)
        own(place / "app", uid)
        return place

    def _workspace(self, build_id: str) -> Path:
        return self._data / "builds" / build_id

    def transcript_path(self, build_id: str) -> Path:
        """Where a build's transcript is kept."""
        return self._data / "builds" / f"{build_id}.log"

    async def build(self, request: BuildRequest, transcript: Transcript) -> BuiltSlug:
        """Make the slug; raises a Fault that says why it can't be, and leaves nothing behind.

        The transcript holds what the build said, not the Fault: `transcript.refuse` shows that.
        When this is cancelled, everything that the build runs is ended.
        """
        if self._turns.locked():
            await transcript.detail("Waiting for other builds to end")
        try:
            async with self._turns, asyncio.timeout(self._limits.build_s) as time_limit:
                return await self._build(request, transcript)
        except TimeoutError:
            if not time_limit.expired():
                raise
            minutes = self._limits.build_s / 60
            raise Invalid(
                f"The build took longer than {minutes:.3g} minutes and was stopped.",
                hint="Leave long work to the release phase or to a one-off process.",
            ) from None
        finally:
            await transcript.flush()
            await self.clean(request.build_id, request.workspace)

    async def _build(self, request: BuildRequest, transcript: Transcript) -> BuiltSlug:
        survey = await self._survey(request, transcript)
        tree, language = await asyncio.to_thread(_look, request.workspace / "app", survey)
        process_types = detect.process_types(tree, language)
        plan = language.plan(tree, await self._machine(request))
        await transcript.write("".join(f"{line}\n" for line in plan.lines))
        await self._guarded(request, self._carry_out(plan, request, transcript))
        await transcript.heading("Discovering process types")
        declared = "Procfile declares" if detect.has_procfile(tree) else "Default"
        await transcript.detail(f"{declared} types -> {', '.join(process_types)}")
        return await self._shelve(request, transcript, plan, process_types)

    async def _survey(self, request: BuildRequest, transcript: Transcript) -> list[str]:
        """Judge the tree and take away what `.slugignore` says; what is left at its top."""
        root, limits = request.workspace / "app", self._limits
        survey = await scales.survey(root, limits.files_max, limits.tree_bytes_max)
        if survey.ignored:
            listed = b"\0".join(os.fsencode(path) for path in survey.ignored)
            remove = Step("Obeying .slugignore", ("/usr/bin/xargs", "-0", "rm", "-rf", "--"))
            await self._run(remove, request, transcript, Plan("", ()), feed=listed)
            await transcript.detail(f".slugignore takes away {len(survey.ignored):,} paths")
        if survey.lfs_pointers:
            await transcript.write(
                f" !     {survey.lfs_pointers} files are Git LFS pointers, not the files "
                f"themselves (as {survey.lfs_example}): Oriel does not fetch them.\n"
            )
        return survey.names

    async def _machine(self, request: BuildRequest) -> Machine:
        settings = {**request.config, **self._environment.env}
        steering = tuple(sorted(kv for kv in settings.items() if kv[0].startswith(_STEERING)))
        places = self._environment.python_places
        return Machine(await asyncio.to_thread(interpreters.find, places), steering)

    async def _carry_out(self, plan: Plan, request: BuildRequest, transcript: Transcript) -> None:
        if plan.installing:
            await transcript.heading(plan.installing)
        if not await self._restored(plan, request, transcript):
            for step in plan.steps:
                await self._step(step, plan, request, transcript)
            if plan.steps:
                await self._keep(plan, request, transcript)
        for step in plan.always:
            await self._step(step, plan, request, transcript)
        profile = json.dumps(plan.profile.as_json()).encode()
        script = f"mkdir -p {APP}/{OWN} && cat > {APP}/{OWN}/profile.json"
        write = Step("Writing the profile", ("/bin/sh", "-c", script))
        await self._step(write, plan, request, transcript, feed=profile)

    async def _restored(self, plan: Plan, request: BuildRequest, transcript: Transcript) -> bool:
        """Whether the cache gave back what the steps would make."""
        if not plan.kept:
            return False
        if await self._run(cache.restore(plan.kept), request, transcript, plan) != 0:
            return False
        await transcript.detail(f"Using the cache: {plan.kept.because}")
        return True

    async def _keep(self, plan: Plan, request: BuildRequest, transcript: Transcript) -> None:
        """Fill the cache; that it fails (a full disk) is no reason to fail the build."""
        if plan.kept:
            await self._run(cache.keep(plan.kept), request, transcript, plan)
        await self._run(cache.trim(self._limits), request, transcript, plan)

    async def _step(
        self,
        step: Step,
        plan: Plan,
        request: BuildRequest,
        transcript: Transcript,
        feed: bytes | None = None,
    ) -> None:
        status = await self._run(step, request, transcript, plan, feed)
        if status is None:
            raise Unavailable(f"{step.title} ended for a reason that is not known. Push again.")
        if status != 0:
            raise Invalid(f"{step.title} failed with status {status}.", hint=_STILL_RUNNING)

    async def _run(
        self,
        step: Step,
        request: BuildRequest,
        transcript: Transcript,
        plan: Plan,
        feed: bytes | None = None,
    ) -> int | None:
        """Run one step; its status, None when that is lost."""
        output = _Indented(transcript)
        exit_ = await self._bench.run(
            self._confinement(step, request, plan),
            place=request.workspace,
            output=output.take,
            feed=None if feed is None else _once(feed),
            timeout_s=self._limits.build_s,
        )
        await transcript.flush()
        return exit_.code

    def _confinement(self, step: Step, request: BuildRequest, plan: Plan) -> Confinement:
        given = self._environment
        if not given.uv.is_file():
            raise Unavailable(
                "uv is not installed beside Oriel, so nothing can be built.", hint="oriel doctor"
            )
        caches = self._made(self._data / "caches" / request.app_id, request.uid)
        scratch = self._made(request.workspace / "scratch", request.uid)
        return Confinement(
            argv=step.argv,
            env=self._env(request, plan),
            uid=request.uid,
            binds=(
                Bind(request.workspace / "app", APP, writable=True),
                Bind(caches, CACHE, writable=True),
                Bind(scratch, SCRATCH, writable=True),
                Bind(given.uv, UV),
                *given.binds,
            ),
            cwd=APP,
            hostname="build",
            processes=1024,
            reach=given.reach,
            memory_bytes=self._limits.memory_bytes,
        )

    def _env(self, request: BuildRequest, plan: Plan) -> dict[str, str]:
        """Ours win over the app's: a config var PATH is meant for its dynos."""
        certificates = {"SSL_CERT_FILE": str(_CERTIFICATES)} if _CERTIFICATES.exists() else {}
        path = (*plan.profile.path, "/usr/local/bin", "/usr/bin", "/bin")
        return {
            **certificates,
            **request.config,
            **self._environment.env,
            **plan.env,
            "PATH": ":".join(path),
            "HOME": APP,
            "LANG": "C.UTF-8",
            "TMPDIR": SCRATCH,
            # Tools keep their own things below HOME, where they would become part of the slug.
            "XDG_CACHE_HOME": f"{CACHE}/xdg",
            "XDG_DATA_HOME": f"{SCRATCH}/share",
            "XDG_STATE_HOME": f"{SCRATCH}/state",
            "NO_COLOR": "1",
            "SOURCE_VERSION": request.commit,
        }

    def _made(self, path: Path, uid: int) -> Path:
        """A directory of the app's own."""
        if not path.is_dir():
            path.mkdir(parents=True, mode=0o700)
            own(path, uid)
        return path

    async def _guarded(self, request: BuildRequest, work: Coroutine[Any, Any, None]) -> None:
        """Do the work, unless it takes more of the disk than it may."""
        working = asyncio.create_task(work)
        watching = asyncio.create_task(self._watch(request))
        try:
            await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
            await (working if working.done() else watching)
        finally:
            working.cancel()
            watching.cancel()
            await asyncio.gather(working, watching, return_exceptions=True)

    async def _watch(self, request: BuildRequest) -> None:
        """Comes back only with the reason to stop."""
        limits = self._limits
        while True:
            await self._clock.sleep(_WATCH_S)
            disk = os.statvfs(self._data)
            if disk.f_bavail * disk.f_frsize < limits.free_bytes_min:
                raise Unavailable(
                    "The server's disk is nearly full, so the build was stopped.",
                    hint="oriel doctor",
                )
            await scales.measure(request.workspace, limits.files_max, 2 * limits.slug_bytes_max)

    async def _shelve(
        self,
        request: BuildRequest,
        transcript: Transcript,
        plan: Plan,
        process_types: dict[str, str],
    ) -> BuiltSlug:
        await transcript.heading("Making the slug")
        root, limits = request.workspace / "app", self._limits
        weight = await scales.weigh(root, limits.files_max, limits.slug_bytes_max)
        record = {
            "digest": weight.digest,
            "commit": request.commit,
            "language": plan.language,
            "process_types": process_types,
            "size_bytes": weight.size_bytes,
            "files": weight.files,
            "profile": plan.profile.as_json(),
        }
        path = await self._shelf.settle(request.app_id, weight.digest, root, record)
        await transcript.detail(f"Done: {human_size(weight.size_bytes)}")
        return BuiltSlug(weight.digest, path, process_types, weight.size_bytes, plan.language)

    async def clean(self, build_id: str, workspace: Path | None = None) -> None:
        """Remove a build's workspace, if it is still there; its transcript stays."""
        place = workspace or self._workspace(build_id)
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)

    async def forget(self, app_id: str) -> None:
        """Throw away an app's slugs and cache."""
        await self._shelf.forget(app_id)
        caches = self._data / "caches" / app_id
        await asyncio.to_thread(shutil.rmtree, caches, ignore_errors=True)

    async def recover(self, db: Database | None = None) -> list[builds.Build]:
        """At start-up, before any push: end and clear away what a kill of control left.

        With `db`, builds that were pending are finished as failed. Pushes, too, are ended: their
        hooks have lost the other side and refuse by themselves, but must not be waited for.
        """
        parent = self._data / "builds"
        for place in sorted(parent.iterdir()) if parent.is_dir() else []:
            if place.is_dir() and not place.is_symlink():
                await self._bench.sweep(place)
                await self.clean(place.name.removeprefix(PLACES), place)
        if db is None:
            return []
        now = self._clock.wall()
        return await db.write(lambda conn: builds.fail_abandoned(conn, now))


def _look(root: Path, names: list[str]) -> tuple[Tree, Language]:
    """The tree as languages see it, and the one it is of. Blocks for a few small reads."""

    def read(name: str) -> bytes | None:
        try:
            return read_text(os.fsencode(root), name.encode())
        except Refused as refused:
            raise Invalid(str(refused)) from None

    found = {name: read(name) for name in detect.READS if name in names}
    texts = {name: content for name, content in found.items() if content is not None}
    tree = Tree(frozenset(names), texts)
    language = detect.detect(tree)
    return detect.completed(tree, language, read), language


class _Indented:
    """A tool's output, as it comes, below a heading."""

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._fresh = True

    async def take(self, piece: bytes) -> None:
        text = self._decoder.decode(piece).replace("\r\n", "\n").replace("\r", "\n")
        lines = text.splitlines(keepends=True)
        shown = []
        for line in lines:
            shown.append(("       " if self._fresh and line != "\n" else "") + line)
            self._fresh = line.endswith("\n")
        await self._transcript.write("".join(shown))


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
