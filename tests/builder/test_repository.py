from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from oriel.builder import Limits, Push
from oriel.faults import BadRequest, Invalid, NotFound, Unavailable
from tests.builder.githttp import APP_ID, UID, Clone, Host, accept, clone, host, sandboxes_of

pytestmark = pytest.mark.real


async def never(push: Push) -> bool:
    raise AssertionError(f"nothing of this push deploys: {push.updates}")


def leftovers(server: Host) -> list[str]:
    """What a push that is over may not leave."""
    return server.quarantines() + [path.name for path in (server.data / "builds").iterdir()]


def test_a_push_is_shown_as_it_is_dealt_with_and_moves_the_ref(tmp_path: Path) -> None:
    seen = asyncio.Event()
    commits = []

    async def on_push(push: Push) -> bool:
        await push.say("-----> Oriel receiving push\n")
        async with asyncio.timeout(30):
            await seen.wait()  # the pusher has it while we still work
        commits.append(push.commit)
        await push.unpack(push.commit, tmp_path / "ws" / "app")
        await push.say("-----> Launching... done, v74\n")
        return True

    async def main() -> None:
        async with host(tmp_path / "data", on_push=on_push) as server:
            dev = await clone(tmp_path / "dev", {"Procfile": "web: x\n", "a/b": "hi", "run": "x"})
            (dev.path / "run").chmod(0o755)
            (dev.path / "link").symlink_to("a/b")
            commit = await dev.commit({})
            pushing = await dev.start("push", server.url, "main")
            assert pushing.stdout
            output = b""
            while b"receiving push" not in output:
                output += await pushing.stdout.read(1000)
            seen.set()
            output += await pushing.stdout.read()
            assert await pushing.wait() == 0, output
            assert b"remote: -----> Launching... done, v74" in output
            assert server.ref() == commit
            assert commits == [commit]
            assert leftovers(server) == []
            assert server.faults == []

    asyncio.run(main())
    app = tmp_path / "ws" / "app"
    assert (app / "a/b").read_text() == "hi"
    assert os.readlink(app / "link") == "a/b"
    assert (app / "run").stat().st_mode & 0o777 == 0o755
    assert (app / "a/b").stat().st_mode & 0o777 == 0o644
    assert {path.lstat().st_uid for path in [app, *app.rglob("*")]} == {UID}


def test_a_rejected_push_leaves_nothing(tmp_path: Path) -> None:
    async def on_push(push: Push) -> bool:
        await push.unpack(push.commit, tmp_path / "app")
        (tmp_path / "app" / "Procfile").unlink()
        raise Invalid("It won't do.", hint="Type this.")

    async def main() -> None:
        async with host(tmp_path / "data", on_push=on_push) as server:
            dev = await clone(tmp_path / "dev")
            output = await dev.git("push", server.url, "main", ok=False)
            assert "remote:  !     It won't do." in output
            assert "remote:  !     Type this." in output
            assert "[remote rejected] main -> main (pre-receive hook declined)" in output
            assert server.ref() == ""
            assert leftovers(server) == []
            server.on_push = _no
            await dev.git("push", server.url, "main", ok=False)
            server.on_push = accept
            await dev.git("push", server.url, "main")
            assert server.ref() == await dev.head()

    asyncio.run(main())


async def _no(push: Push) -> bool:
    return False


def test_our_own_mistake_rejects_and_is_told_to_who_serves(tmp_path: Path) -> None:
    async def on_push(push: Push) -> bool:
        raise ZeroDivisionError("a secret of ours")

    async def main() -> None:
        async with host(tmp_path / "data", on_push=on_push) as server:
            dev = await clone(tmp_path / "dev")
            output = await dev.git("push", server.url, "main", ok=False)
            assert "Oriel itself failed; nothing was deployed" in output
            assert "secret" not in output
            assert [type(fault) for fault in server.faults] == [ZeroDivisionError]
            assert server.ref() == ""

    asyncio.run(main())


def test_a_pusher_who_goes_ends_everything(tmp_path: Path) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def on_push(push: Push) -> bool:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return True

    async def main() -> None:
        async with host(tmp_path / "data", on_push=on_push) as server:
            dev = await clone(tmp_path / "dev")
            pushing = await dev.start("push", server.url, "main")
            async with asyncio.timeout(30):
                await begun.wait()
                server.ended.clear()
                await dev.interrupt(pushing)
                await cancelled.wait()
                await server.ended.wait()
            assert server.ref() == ""
            assert leftovers(server) == []
            server.on_push = accept
            await dev.git("push", server.url, "main")
            assert server.ref() == await dev.head()
            assert leftovers(server) == []

    asyncio.run(main())


def test_what_a_kill_of_the_platform_left_is_tidied_up(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path / "data") as server:
            left = server.repository / "objects" / "tmp_objdir-incoming-x1"
            (left / "pack").mkdir(parents=True)
            if os.geteuid() == 0:
                for path in (left, left / "pack"):
                    os.chown(path, UID, UID)
            dev = await clone(tmp_path / "dev")
            await dev.git("push", server.url, "main")
            assert leftovers(server) == []

    asyncio.run(main())


def test_once_released_the_ref_moves_whoever_has_gone(tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def on_push(push: Push) -> bool:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return True  # the release was appended in the same moment
        return False

    async def main() -> None:
        async with host(tmp_path / "data", on_push=on_push) as server:
            dev = await clone(tmp_path / "dev")
            pushing = await dev.start("push", server.url, "main")
            async with asyncio.timeout(30):
                await begun.wait()
                server.ended.clear()
                await dev.interrupt(pushing)
                await server.ended.wait()
            assert server.ref() == await dev.head()
            assert leftovers(server) == []

    asyncio.run(main())


def test_which_refs_deploy(tmp_path: Path) -> None:
    deployed: list[str] = []

    async def on_push(push: Push) -> bool:
        deployed.append(push.ref)
        return True

    async def main() -> None:
        async with host(tmp_path / "data", on_push=on_push) as server:
            dev = await clone(tmp_path / "dev")
            output = await dev.git("push", server.url, "main:topic")
            assert "-----> only main or master is deployed; stored topic" in output
            assert deployed == []
            assert server.ref("refs/heads/topic") == await dev.head()
            await dev.git("push", server.url, "main:master")
            assert deployed == ["refs/heads/master"]
            output = await dev.git("push", server.url, ":master", ok=False)
            assert "master is the deployed branch and can't be deleted" in output
            await dev.git("push", server.url, "main")
            await dev.git("push", server.url, ":master", ":topic")
            assert deployed == ["refs/heads/master", "refs/heads/main"]
            first = await dev.head()
            await dev.commit({"new": "x"})
            output = await dev.git(
                "push", server.url, "main", f"{first}:refs/heads/master", ok=False
            )
            assert "only one can be deployed" in output
            await dev.git("push", server.url, "main", "main:master")
            assert len(deployed) == 3
            await dev.git("push", "--force", server.url, f"{first}:main")
            assert server.ref() == first
            output = await dev.git("push", server.url, f"{first}:main")
            assert "Everything up-to-date" in output
            assert len(deployed) == 4
            await dev.git("tag", "-a", "v1", "-m", "v1")
            output = await dev.git("push", "--force", server.url, "v1:main", ok=False)
            assert "main" in output
            assert server.ref() == first
            assert server.faults == []

    asyncio.run(main())


async def _pushed_with(
    tmp_path: Path, dev: Clone, limits: Limits | None = None, *options: str
) -> str:
    """Push a clone's main; what git printed. It must be refused, with nothing left."""
    workspace = tmp_path / "ws"

    async def on_push(push: Push) -> bool:
        await push.unpack(push.commit, workspace)
        return True

    async with host(tmp_path / "data", limits, on_push) as server:
        output = await dev.git(*options, "push", server.url, "main", ok=False)
        assert server.ref() == ""
        assert leftovers(server) == []
        assert not workspace.exists()
    return output


def test_a_submodule_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        lib = await clone(tmp_path / "lib")
        dev = await clone(tmp_path / "dev")
        await dev.git("submodule", "--quiet", "add", str(lib.path), "vendor/lib")
        await dev.commit({})
        output = await _pushed_with(tmp_path, dev)
        assert "vendor/lib is a git submodule, which Oriel can't fetch." in output

    asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (".oriel/profile.json", ".oriel is where Oriel keeps its own notes"),
        ("x" * 200 + "/" + "y" * 200 + "/" + "z" * 200 + "/" + "a" * 200 + "/" + "b" * 250, "1024"),
    ],
)
def test_a_name_that_will_not_do_is_refused(tmp_path: Path, name: str, says: str) -> None:
    async def main() -> None:
        dev = await clone(tmp_path / "dev")
        await dev.commit({name: "x"})
        assert says in await _pushed_with(tmp_path, dev)

    asyncio.run(main())


def test_an_empty_tree_and_too_many_files_are_refused(tmp_path: Path) -> None:
    async def main() -> None:
        dev = await clone(tmp_path / "dev")
        await dev.git("rm", "-q", "Procfile")
        await dev.commit({})
        assert "The pushed commit has no files." in await _pushed_with(tmp_path, dev)
        await dev.commit({f"f{n}": "x" for n in range(5)})
        output = await _pushed_with(tmp_path / "2", dev, Limits(files_max=3))
        assert "more than 3 files" in output
        output = await _pushed_with(tmp_path / "3", dev, Limits(tree_bytes_max=3))
        assert "larger than 3B unpacked; the largest so far is" in output

    asyncio.run(main())


def test_a_path_that_leaves_the_tree_is_refused_by_git_itself(tmp_path: Path) -> None:
    async def main() -> None:
        dev = await clone(tmp_path / "dev")
        blob = (await dev.git("hash-object", "-w", "Procfile")).strip()
        for name in ("..", ".git"):
            (dev.path / "list").write_bytes(f"100644 blob {blob}\t{name}\0".encode())
            with (dev.path / "list").open("rb") as listed:
                process = await asyncio.create_subprocess_exec(
                    *("git", "mktree", "-z"), stdin=listed, stdout=-1, cwd=dev.path
                )
                tree = (await process.communicate())[0].decode().strip()
            commit = (await dev.git("commit-tree", tree, "-m", "bad")).strip()
            await dev.git("update-ref", "refs/heads/main", commit)
            output = await _pushed_with(tmp_path / name.strip("."), dev)
            assert "unpacker error" in output

    (tmp_path / "git").mkdir()
    asyncio.run(main())


def test_a_pack_over_the_limit_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        dev = await clone(tmp_path / "dev")
        await dev.commit({"noise": os.urandom(3_000_000)})
        output = await _pushed_with(tmp_path, dev, Limits(push_bytes_max=100_000))
        assert "pack exceeds maximum allowed size" in output

    asyncio.run(main())


def test_a_full_repository_takes_no_push(tmp_path: Path) -> None:
    async def main() -> None:
        dev = await clone(tmp_path / "dev")
        async with host(tmp_path / "data", Limits(repository_bytes_max=10)) as server:
            output = await dev.git("push", server.url, "main", ok=False)
            assert "The app's repository has reached 10B, the most that Oriel keeps" in output

    asyncio.run(main())


def test_a_full_disk_takes_no_push(tmp_path: Path) -> None:
    async def main() -> None:
        dev = await clone(tmp_path / "dev")
        async with host(tmp_path / "data", Limits(free_bytes_min=1 << 60)) as server:
            output = await dev.git("push", server.url, "main", ok=False)
            assert "disk is nearly full" in output

    asyncio.run(main())


def test_a_killed_platform_refuses_the_push_that_it_had_begun(tmp_path: Path) -> None:
    """The hook notices by itself; nobody needs to start again for that."""
    script = f"""
import asyncio, sys
from pathlib import Path
from tests.builder.githttp import host

async def on_push(push):
    print("deploying", flush=True)
    await asyncio.Event().wait()

async def main():
    async with host(Path({str(tmp_path / "data")!r}), on_push=on_push) as server:
        print(server.url, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""

    async def main() -> None:
        dev = await clone(tmp_path / "dev")
        platform = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", script), stdout=-1, cwd=Path(__file__).parents[2]
        )
        assert platform.stdout
        async with asyncio.timeout(60):
            url = (await platform.stdout.readline()).decode().strip()
            pushing = await dev.start("push", url, "main")
            assert await platform.stdout.readline() == b"deploying\n"
            platform.kill()
            await platform.communicate()
            await pushing.communicate()
            assert pushing.returncode != 0
            while sandboxes_of(tmp_path / "data"):
                await asyncio.sleep(0.01)
        async with host(tmp_path / "data") as server:
            assert server.ref() == ""
            await dev.git("push", server.url, "main")
            assert server.ref() == await dev.head()
            assert server.quarantines() == []

    asyncio.run(main())


def test_a_second_push_to_the_app_is_refused_while_one_is_under_way(tmp_path: Path) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def on_push(push: Push) -> bool:
        begun.set()
        await go_on.wait()
        return True

    async def main() -> None:
        async with host(tmp_path / "data", on_push=on_push) as server:
            dev = await clone(tmp_path / "dev")
            first = asyncio.create_task(dev.git("push", server.url, "main"))
            await begun.wait()
            output = await dev.git("push", server.url, "main:master", ok=False)
            assert "Another push to this app is being deployed." in output
            go_on.set()
            await first
            assert server.ref() == await dev.head()

    asyncio.run(main())


def test_a_branch_that_moved_while_the_push_waited_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path / "data") as server:
            dev = await clone(tmp_path / "dev")
            base = await dev.head()
            await dev.git("push", server.url, "main")
            ours = await dev.commit({"ours": "x"})
            await dev.git("push", server.url, "main")
            # What a client says that listed the refs before: the branch is where it was.
            line = f"{base} {base[:-1]}0 refs/heads/main\0 report-status agent=test".encode()
            body = b"%04x%s0000" % (len(line) + 4, line)
            heard = await _raw(server, body + await _empty_pack(dev))
            assert b"unpacker error" in heard or b"moved" in heard or b"ng refs" in heard
            assert server.ref() == ours

    asyncio.run(main())


async def _empty_pack(dev: Clone) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *("git", "pack-objects", "--stdout"), stdin=-3, stdout=-1, stderr=-3, cwd=dev.path
    )
    return (await process.communicate())[0]


async def _raw(server: Host, *pieces: bytes) -> bytes:
    heard = bytearray()

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def send(piece: bytes) -> None:
        heard.extend(piece)

    await server.repositories.receive_pack(APP_ID, UID, body(), send, accept)
    return bytes(heard)


@pytest.mark.parametrize("body", [b"", b"0000", b"nonsense", b"00"])
def test_a_body_that_is_no_push(tmp_path: Path, body: bytes) -> None:
    async def main() -> None:
        async with host(tmp_path / "data", on_push=never) as server:
            with contextlib.suppress(BadRequest):
                await _raw(server, body)
            assert leftovers(server) == []

    asyncio.run(main())


def test_a_silent_pusher_is_not_waited_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path / "data", Limits(idle_s=0.2)) as server:

            async def body() -> AsyncIterator[bytes]:
                yield b"00"
                await asyncio.Event().wait()

            async def send(piece: bytes) -> None: ...

            with pytest.raises(Unavailable, match="fell silent"):
                await server.repositories.receive_pack(APP_ID, UID, body(), send, never)
            assert leftovers(server) == []

    asyncio.run(main())


def test_clones_and_fetches(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path / "data") as server:
            dev = await clone(tmp_path / "dev")
            for number in range(40):
                await dev.git("branch", f"b{number}")
            await dev.git("push", "--quiet", server.url, "--all")
            for version in ("0", "2"):
                other = Clone(tmp_path)
                name = f"clone{version}"
                how = ("-c", f"protocol.version={version}", "clone", "--quiet", server.url, name)
                await other.git(*how)
                assert await Clone(tmp_path / name).head() == await dev.head()
                assert (tmp_path / name / "Procfile").exists()
                await dev.commit({"more": version})
                await dev.git("push", "--quiet", server.url, "main")
                await Clone(tmp_path / name).git("pull", "--quiet")
                assert await Clone(tmp_path / name).head() == await dev.head()
            assert server.faults == []

    asyncio.run(main())


def test_repositories_come_and_go(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path / "data") as server:
            repositories = server.repositories
            await repositories.create(APP_ID, UID)
            assert repositories.exists(APP_ID)
            assert 0 < repositories.size_bytes(APP_ID) < 10_000
            with pytest.raises(BadRequest):
                await repositories.advertise(APP_ID, UID, "git-upload-archive")
            await repositories.remove(APP_ID)
            await repositories.remove(APP_ID)
            assert not repositories.exists(APP_ID)
            assert repositories.size_bytes(APP_ID) == 0
            with pytest.raises(NotFound):
                await repositories.advertise(APP_ID, UID, "git-upload-pack")

    asyncio.run(main())


def test_a_half_made_repository_is_made_anew(tmp_path: Path) -> None:
    async def main() -> None:
        async with host(tmp_path / "data") as server:
            (server.repository / "objects" / "info").rmdir()
            (server.repository / "HEAD").unlink()
            await server.repositories.create(APP_ID, UID)
            dev = await clone(tmp_path / "dev")
            await dev.git("push", server.url, "main")

    asyncio.run(main())
