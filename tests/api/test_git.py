"""Git over HTTP: who may, the bytes both ways, and a pusher that goes away."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import os
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import uvicorn
from starlette.types import ASGIApp

from oriel.api import git as gits
from oriel.api.git import Git
from oriel.api.guard import Guard

from .asgi import Answer
from .world import KATE, NED, Site, play, site

PUSH, FETCH = "/demo.git/git-receive-pack", "/demo.git/git-upload-pack"
RECEIVE = {"content-type": "application/x-git-receive-pack-request"}
UPLOAD = {"content-type": "application/x-git-upload-pack-request"}
Send = Callable[[bytes], Awaitable[None]]


def basic(secret: str, user: str = "anybody") -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()}


async def demo(made: Site) -> dict[str, str]:
    """An app, and the credentials that git would send."""
    answer = await made.send("POST", "/apps", body=json.dumps({"name": "demo"}).encode())
    assert answer.status == 201
    return basic(made.tokens[NED])


async def ask(made: Site, method: str, path: str, **more: Any) -> Answer:
    return await made.send(method, path, by=None, **more)


def test_a_push_and_a_fetch(tmp_path: Path) -> None:
    async def tell(made: Site) -> None:
        me = await demo(made)
        refs = await ask(
            made, "GET", "/demo.git/info/refs", headers=me, query="service=git-receive-pack"
        )
        assert refs.headers["content-type"] == "application/x-git-receive-pack-advertisement"
        assert refs.body == b"001e# service=git-receive-pack\n0000"
        pieces = [b"one ", b"", b"two ", b"three"]
        pushed = await ask(made, "POST", PUSH, headers={**me, **RECEIVE}, body=pieces)
        assert pushed.headers["content-type"] == "application/x-git-receive-pack-result"
        assert pushed.body == b"-----> building\n-----> done\n"
        assert made.repositories.received == b"one two three"
        packed = gzip.compress(b"want " * 100_000)
        zipped = {**me, **UPLOAD, "content-encoding": "gzip"}
        halves = [packed[:50], packed[50:]]
        fetched = await ask(made, "POST", FETCH, headers=zipped, body=halves)
        assert fetched.body == b"PACK"
        assert made.repositories.received == b"want " * 100_000

    play(tmp_path / "d", tell)


def test_the_protocol_a_client_would_like_is_passed_on_when_it_is_one(tmp_path: Path) -> None:
    async def tell(made: Site) -> None:
        me = await demo(made)
        for sent in ("version=2", "version=2:x", "A B", "x" * 200):
            headers = {**me, **UPLOAD, "git-protocol": sent}
            await ask(made, "POST", FETCH, headers=headers, body=b"0000")
            await ask(
                made, "GET", "/demo.git/info/refs", headers=headers, query="service=git-upload-pack"
            )
        assert made.repositories.protocols == ["version=2"] * 2 + ["version=2:x"] * 2 + [""] * 4

    play(tmp_path / "d", tell)


def test_refusals_are_text_that_git_shows(tmp_path: Path) -> None:
    async def tell(made: Site) -> None:
        me = await demo(made)
        query = "service=git-receive-pack"
        nobody = await ask(made, "GET", "/demo.git/info/refs", query=query)
        assert nobody.status == 401
        assert nobody.headers["www-authenticate"] == 'Basic realm="Oriel"'
        assert nobody.headers["content-type"].startswith("text/plain")
        made.tokens["ci"] = await read_token(made)
        cases: list[tuple[int, str, str, dict[str, Any]]] = [
            (401, "GET", "/demo.git/info/refs", {"headers": basic("wrong"), "query": query}),
            (404, "GET", "/nope.git/info/refs", {"headers": me, "query": query}),
            (404, "GET", "/demo.git/info/refs",
             {"headers": basic(made.tokens[KATE]), "query": query}),
            (403, "GET", "/demo.git/info/refs", {"headers": me, "query": "service=git-evil"}),
            (403, "GET", "/demo.git/info/refs", {"headers": me}),
            (403, "GET", "/demo.git/info/refs",
             {"headers": basic(made.tokens["ci"]), "query": query}),
            (200, "GET", "/demo.git/info/refs",
             {"headers": basic(made.tokens["ci"]), "query": "service=git-upload-pack"}),
            (404, "GET", "/demo.git/HEAD", {"headers": me}),
            (405, "GET", PUSH, {"headers": me}),
            (405, "POST", "/demo.git/info/refs", {"headers": me}),
            (415, "POST", PUSH, {"headers": me}),
            (415, "POST", PUSH, {"headers": {**me, **RECEIVE, "content-encoding": "br"}}),
            (421, "POST", PUSH, {"headers": {**me, **RECEIVE}, "host": "evil.example"}),
        ]  # fmt: skip
        for status, method, path, more in cases:
            answer = await ask(made, method, path, **more)
            assert answer.status == status, (method, path, more, answer.body)

    play(tmp_path / "d", tell, NED, KATE)


async def read_token(made: Site) -> str:
    answer = await made.send("POST", "/oauth/authorizations", body=b'{"scope": ["read"]}')
    return str(answer.json["access_token"]["token"])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"not gzip", 400),
        (gzip.compress(b"x" * 1000, mtime=0)[:-9], 400),
        (gzip.compress(b"x", mtime=0) + b"trailing", 400),
        (gzip.compress(bytes(3 << 20), mtime=0), 413),
        (gzip.compress(b"fine", mtime=0), 200),
    ],
)
def test_a_gzip_body_is_bounded_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes, status: int
) -> None:
    monkeypatch.setattr(gits, "UNPACKED_MAX", 2 << 20)

    async def tell(made: Site) -> None:
        headers = {**await demo(made), **UPLOAD, "content-encoding": "gzip"}
        pieces = [body[at : at + 100] for at in range(0, len(body), 100)]
        assert (await ask(made, "POST", FETCH, headers=headers, body=pieces)).status == status

    play(tmp_path / "d", tell)


def test_a_pusher_that_goes_away_cancels_the_push(tmp_path: Path) -> None:
    async def tell(made: Site) -> None:
        headers = {**await demo(made), **RECEIVE}
        made.repositories.building = asyncio.Event()
        client = made.client("POST", PUSH, by=None, headers=headers, body=b"pack")
        running = asyncio.create_task(client.run())
        while b"building" not in client.answer.body:
            client.arrived.clear()
            await client.arrived.wait()
        client.gone.set()
        await running
        assert made.repositories.cancelled
        assert not client.answer.complete

    play(tmp_path / "d", tell)


def test_a_push_that_breaks_after_its_beginning_is_broken_off(tmp_path: Path) -> None:
    async def tell(made: Site) -> None:
        headers = {**await demo(made), **RECEIVE}

        async def broken(world: Any, actor: Any, app: str, body: Any, send: Send) -> None:
            await send(b"half")
            raise RuntimeError("secret")

        verbs = type("Verbs", (), {"push": staticmethod(broken)})
        made.api = Guard(Git(made.world, verbs), made.world.settings.known_hosts)
        answer = await ask(made, "POST", PUSH, headers=headers, body=b"pack")
        assert (answer.status, answer.body, answer.complete) == (200, b"half", False)

    play(tmp_path / "d", tell)


class Plain:
    """Verbs that hand everything to git's own programs, on one repository."""

    def __init__(self, repository: Path) -> None:
        self._repository = repository

    async def advertise(
        self, world: Any, actor: Any, app: str, service: str, protocol: str
    ) -> bytes:
        refs = await self._run(service, "--advertise-refs", feed=None)
        line = f"# service={service}\n"
        return f"{len(line) + 4:04x}{line}0000".encode() + refs

    async def push(
        self, world: Any, actor: Any, app: str, body: AsyncIterator[bytes], send: Send
    ) -> None:
        await send(await self._run("git-receive-pack", feed=body))

    async def fetch(
        self,
        world: Any,
        actor: Any,
        app: str,
        body: AsyncIterator[bytes],
        send: Send,
        protocol: str,
    ) -> None:
        await send(await self._run("git-upload-pack", feed=body))

    async def _run(self, service: str, *more: str, feed: AsyncIterator[bytes] | None) -> bytes:
        argv = ["git", service.removeprefix("git-"), "--stateless-rpc", *more]
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            *argv, str(self._repository), stdin=pipe, stdout=pipe, env=git_env(self._repository)
        )
        data = b"".join([chunk async for chunk in feed]) if feed else b""
        out, _ = await child.communicate(data)
        return out


def git_env(home: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "ned",
        "GIT_AUTHOR_EMAIL": NED,
        "GIT_COMMITTER_NAME": "ned",
        "GIT_COMMITTER_EMAIL": NED,
    }


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A real server with real git behind it; its address, and a token."""
    if not shutil.which("git"):
        pytest.skip("git is not installed.")
    repository = tmp_path / "demo.git"
    subprocess.run(
        ["git", "init", "-q", "--bare", "-b", "main", repository],
        check=True,
        env=git_env(tmp_path),
    )
    made = site(tmp_path / "d")
    api: ASGIApp = Guard(Git(made.world, Plain(repository)), made.world.settings.known_hosts)
    server = uvicorn.Server(
        uvicorn.Config(api, host="127.0.0.1", port=0, log_level="error", lifespan="off")
    )

    async def whole() -> None:
        await made.account(NED)
        await server.serve()

    async def prepared() -> None:
        from oriel.control import accounts

        await accounts.prepare_setup(made.world)
        await whole()

    thread = threading.Thread(target=lambda: asyncio.run(prepared()))
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive()
    port = cast(Any, server).servers[0].sockets[0].getsockname()[1]
    try:
        yield f"127.0.0.1:{port}", made.tokens[NED]
    finally:
        server.should_exit = True
        thread.join()
        made.world.db.close()


@pytest.mark.real
def test_real_git_pushes_and_clones(served: tuple[str, str], tmp_path: Path) -> None:
    address, token = served

    def git(*argv: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", *argv],
            cwd=cwd,
            check=check,
            env=git_env(tmp_path),
            capture_output=True,
            text=True,
        )

    copy = tmp_path / "copy"
    copy.mkdir()
    git("init", "-q", "-b", "main", cwd=copy)
    (copy / "large").write_bytes(os.urandom(3 << 20))
    git("add", "-A", cwd=copy)
    git("commit", "-q", "-m", "one", cwd=copy)
    for number in range(40):
        git("tag", f"t{number}", cwd=copy)
    url = f"http://anybody:{token}@{address}/demo.git"
    git("push", "-q", url, "main", "--tags", cwd=copy)
    git("clone", "-q", url, str(tmp_path / "clone"), cwd=tmp_path)
    assert (tmp_path / "clone" / "large").read_bytes() == (copy / "large").read_bytes()
    wrong = git("push", f"http://x:wrong@{address}/demo.git", "main", cwd=copy, check=False)
    assert wrong.returncode != 0
    assert "Authentication failed" in wrong.stderr
