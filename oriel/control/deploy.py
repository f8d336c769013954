"""Owns a release's way from a push: receive, build, release, launch; and builds to look at.

Until its release is appended, a push that breaks off leaves the app as it was; from then on it is
done, whoever has gone. Must not know git's protocol or how a tree becomes a slug.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from sqlalchemy import Connection

from oriel import faults
from oriel.builder import Build, BuildRequest, BuiltSlug, Push, Transcript, builds
from oriel.clock import new_id
from oriel.control import access, record, releasing
from oriel.control.world import World
from oriel.ledger import App, Release, Slug, drafts, settings, slugs
from oriel.lexicon import Actor

Send = Callable[[bytes], Awaitable[None]]

BUILDS_MAX = 200


async def advertise(
    world: World, actor: Actor, app: str, service: str, protocol: str = ""
) -> bytes:
    """The refs of the app's repository, as `service` (git-upload-pack...) shows them.

    `protocol` is what the client's Git-Protocol header says.
    """
    found = await access.app_of(world, actor, app)
    await world.repositories.create(found.id, found.uid)
    return await world.repositories.advertise(found.id, found.uid, service, protocol)


async def fetch(
    world: World,
    actor: Actor,
    app: str,
    body: AsyncIterator[bytes],
    send: Send,
    protocol: str = "",
) -> None:
    """Serve a clone or fetch."""
    found = await access.app_of(world, actor, app)
    await world.repositories.upload_pack(found.id, found.uid, body, send, protocol)


async def push(
    world: World, actor: Actor, app: str, body: AsyncIterator[bytes], send: Send
) -> None:
    """Serve a push: one at a time for each app; the second is refused with a sentence, unless all
    that the first one still waits for is its web dynos to come up (preboot).
    """
    found = await access.app_of(world, actor, app)

    async def on_push(pushed: Push) -> bool:
        return await _pushed(world, actor, found, pushed)

    async def make_way() -> bool:
        return await releasing.give_up(world, actor, found)

    await world.repositories.receive_pack(found.id, found.uid, body, send, on_push, make_way)


async def list_builds(world: World, actor: Actor, app: str, limit: int = 50) -> list[Build]:
    """The newest builds of the app, newest first."""

    def work(conn: Connection) -> list[Build]:
        found = access.find(conn, actor, app)
        return builds.of_app(conn, found.id, min(limit, BUILDS_MAX))

    return await world.db.read(work)


async def build(world: World, actor: Actor, app: str, build_id: str) -> Build:
    """One build of the app."""

    def work(conn: Connection) -> Build:
        found = access.find(conn, actor, app)
        return builds.get(conn, found.id, build_id)

    return await world.db.read(work)


async def build_output(world: World, actor: Actor, app: str, build_id: str) -> Path:
    """The file with the build's transcript; it may still grow, or not be there yet."""
    found = await build(world, actor, app, build_id)
    return world.builder.transcript_path(found.id)


async def _pushed(world: World, actor: Actor, app: App, pushed: Push) -> bool:
    """Decide about a push that brings something to deploy. False rejects it."""
    await pushed.say("-----> Oriel receiving push\n")
    return await _deploy(world, actor, app, pushed, pushed.commit)


async def _deploy(world: World, actor: Actor, app: App, pushed: Push, commit: str) -> bool:
    head = await world.db.read(lambda conn: releasing.head_state(conn, world, app))
    build_id = new_id()
    started = await world.db.write(lambda conn: _begin(conn, world, actor, app, build_id, commit))
    transcript = Transcript(
        world.builder.transcript_path(build_id), pushed.say, secrets=head.config.values()
    )
    try:
        workspace = await world.builder.workspace(build_id, app.uid)
        await pushed.unpack(commit, workspace / "app")
        request = BuildRequest(
            build_id=build_id,
            app_id=app.id,
            uid=app.uid,
            workspace=workspace,
            commit=commit,
            config=head.config,
        )
        built = await world.builder.build(request, transcript)
        made = await _release(world, actor, app, started, built, commit, transcript)
    except faults.Fault as fault:
        await transcript.refuse(fault)
        await _fail(world, actor, app, started, fault.message)
        return False
    except BaseException:
        # The pusher has gone, or something broke: the build has failed either way.
        await _fail(world, actor, app, started, "the push broke off")
        raise
    finally:
        await transcript.close()
        await world.builder.clean(build_id)
    return made


def _begin(
    conn: Connection, world: World, actor: Actor, app: App, build_id: str, commit: str
) -> Build:
    now = world.clock.wall()
    detail = {"build": build_id, "commit": commit}
    record.act(conn, world, actor, app, "build", detail)
    record.say(conn, world, app, "slugc", "Slug compilation started")
    return builds.start(
        conn,
        build_id=build_id,
        app_id=app.id,
        commit=commit,
        by_id=actor.account_id,
        by_email=actor.email,
        now=now,
    )


async def _release(
    world: World,
    actor: Actor,
    app: App,
    started: Build,
    built: BuiltSlug,
    commit: str,
    transcript: Transcript,
) -> bool:
    """Append the release of a finished build and launch it; False when its command failed."""
    slug = Slug(
        id=built.digest,
        app_id=app.id,
        commit=commit,
        process_types=dict(built.process_types),
        size_bytes=built.size_bytes,
        language=built.language,
        checksum=f"SHA256:{built.digest}",
        created_at=world.clock.wall(),
    )

    def plan(conn: Connection) -> releasing.Intent:
        slugs.insert(conn, slug)
        _first_quantities(conn, world, app, slug)
        draft = drafts.deploy(releasing.head_state(conn, world, app), slug)

        def also(conn: Connection, release: Release) -> None:
            now = world.clock.wall()
            builds.finish(conn, started, "succeeded", "", slug.id, release.version, now)
            record.say(conn, world, app, "slugc", "Slug compilation finished")

        return releasing.Intent("deploy", draft, {"commit": commit, "slug": slug.id}, also)

    made = await releasing.make(world, actor, app, plan, transcript.write, patience_s=None)
    if made is None:
        raise faults.Broken(f"The release of {app.name} was not made.")
    release = made.release
    if release.status != "succeeded":
        runs = f"The app goes on with v{made.previous}." if made.previous else "Nothing runs."
        said = f"oriel logs --release v{release.version} -a {app.name}"
        await transcript.refuse(
            faults.Invalid(
                f"Release v{release.version} failed: {release.status_reason}. {runs}",
                hint=f"See what it said with: {said}",
            )
        )
        return False
    url = world.settings.app_url(app.name)
    launched = f"-----> Launching... done, v{release.version}\n       {url} deployed to Oriel\n"
    # The release is appended: the push is good, whether or not anybody is there to hear it.
    with contextlib.suppress(faults.Fault, asyncio.CancelledError):
        await transcript.write(launched)
    return True


async def _fail(world: World, actor: Actor, app: App, started: Build, why: str) -> None:
    def work(conn: Connection) -> None:
        if builds.get(conn, app.id, started.id).status != "pending":
            return  # Its release was appended: it is done, whoever has gone.
        builds.finish(conn, started, "failed", why, None, None, world.clock.wall())
        record.say(conn, world, app, "slugc", "Slug compilation failed")

    await world.db.write(work)


def _first_quantities(conn: Connection, world: World, app: App, slug: Slug) -> None:
    """The first deploy starts one web dyno and none of the others."""
    scales = settings.quantities(conn, app.id)
    if "web" in slug.process_types and "web" not in scales:
        settings.set_scale(conn, app.id, "web", 1, "standard-1x", world.clock.wall())
