from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from oriel.builder import BuiltSlug, Limits, builds
from oriel.builder.bench import Bench
from oriel.clock import SystemClock
from oriel.faults import Invalid, TooLarge
from oriel.sandbox import Confinement, Overlay
from oriel.store.database import Database
from tests.builder.conftest import Yard
from tests.builder.githttp import UID, sandboxes_of

pytestmark = pytest.mark.real

InYard = Callable[..., None]

APP = {
    "Procfile": "web: tinydep-hello\nworker: python -m tinydep\n",
    "requirements.txt": "tinydep==1.0\n",
}

BACKEND = """
[project]
name = "x"
version = "1"
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


def backend(code: str) -> dict[str, str]:
    """A tree whose build runs `code` in the sandbox, as an app's own setup.py would."""
    body = "".join(f"    {line}\n" for line in code.splitlines())
    text = f"def build_editable(directory, settings=None, metadata=None):\n{body}"
    return {"Procfile": "web: x\n", "pyproject.toml": BACKEND, "backend.py": text}


async def run(yard: Yard, slug: BuiltSlug, *argv: str) -> str:
    """What a program prints that runs from the slug, as in a dyno."""
    said = bytearray()

    async def take(piece: bytes) -> None:
        said.extend(piece)

    profile = json.loads((slug.path / ".oriel" / "profile.json").read_text())
    env = {**profile["env"], "PATH": ":".join([*profile["path"], "/usr/bin", "/bin"])}
    what = Confinement(argv=argv, env=env, uid=UID, overlay=Overlay(slug.path, size_bytes=1 << 20))
    place = yard.data / "run"
    place.mkdir()
    await Bench(yard.sandboxes).run(what, place=place, output=take, timeout_s=30)
    place.rmdir()
    return said.decode()


def leftovers(yard: Yard) -> list[str]:
    return [path.name for path in (yard.data / "builds").iterdir() if path.is_dir()]


def test_builds_a_python_app_that_runs_and_again_from_the_cache(in_yard: InYard) -> None:
    async def test(yard: Yard) -> None:
        first = await yard.build(APP)
        assert yard.said.startswith("-----> Python app detected\n-----> Using Python 3.")
        assert "-----> Installing dependencies with uv\n" in yard.said
        assert "        + tinydep==1.0\n" in yard.said
        assert yard.said.endswith(
            "-----> Discovering process types\n"
            "       Procfile declares types -> web, worker\n"
            "-----> Making the slug\n"
            f"       Done: {first.size_bytes / 1024:.1f}K\n"
        )
        assert yard.builder.transcript_path(yard.last_id).read_text() == yard.said
        assert first.process_types == {"web": "tinydep-hello", "worker": "python -m tinydep"}
        assert first.language.startswith("Python 3.")
        assert first.path == yard.data / "slugs" / "app-1" / first.digest
        assert await run(yard, first, "tinydep-hello") == "hello from tinydep\n"
        assert leftovers(yard) == []

        again = await yard.build(APP)
        assert "       Using the cache: requirements.txt is unchanged\n" in yard.said
        assert "tinydep==1.0" not in yard.said
        assert again == first

        changed = await yard.build({**APP, "app.py": "changed"})
        assert "Using the cache" in yard.said
        assert changed.digest != first.digest
        assert await run(yard, changed, "tinydep-hello") == "hello from tinydep\n"

    in_yard(test)


def test_a_slug_is_whole_beside_its_record(in_yard: InYard) -> None:
    async def test(yard: Yard) -> None:
        slug = await yard.build({"Procfile": "web: ./run\n", "run": "#!/bin/sh\necho ran\n"})
        record = json.loads(slug.path.with_name(slug.digest + ".json").read_text())
        assert record["version"] == 1
        assert record["process_types"] == {"web": "./run"}
        assert record["profile"] == {"path": [], "env": {}}
        assert slug.language == "no build"
        assert {path.lstat().st_uid for path in [slug.path, *slug.path.rglob("*")]} == {UID}
        assert await run(yard, slug, "/bin/sh", "./run") == "ran\n"

    in_yard(test)


def test_a_failed_install_tells_why_and_leaves_nothing(in_yard: InYard) -> None:
    async def test(yard: Yard) -> None:
        with pytest.raises(Invalid, match="Installing dependencies failed with status 1") as caught:
            await yard.build({**APP, "requirements.txt": "tinydep==9.9\n"})
        assert "goes on with its last release" in caught.value.hint
        assert "no version of tinydep==9.9" in yard.said
        assert leftovers(yard) == []
        assert not (yard.data / "slugs").exists()

    in_yard(test)


@pytest.mark.parametrize(
    ("files", "links", "says"),
    [
        ({"app.py": "x"}, {}, "There is no Procfile"),
        ({"Procfile": "web x"}, {}, "Procfile:1: expected"),
        ({"Procfile": "web: x"}, {"out": "../../../etc/passwd"}, "symlink out -> "),
        ({"x": "y"}, {"Procfile": "x"}, "Procfile is not a plain file"),
        ({"Procfile": "web: x", ".python-version": "2.7", "requirements.txt": ""}, {}, "2.7"),
        ({"Procfile": "web: x", ".slugignore": "Procfile"}, {}, "There is no Procfile"),
        ({"Procfile": "web: x", ".oriel/x": "y"}, {}, "own notes"),
    ],
)
def test_refuses_a_tree(
    in_yard: InYard, files: dict[str, str], links: dict[str, str], says: str
) -> None:
    async def test(yard: Yard) -> None:
        request, transcript = await yard.prepared(files, links, {})
        with pytest.raises(Invalid) as caught:
            await yard.builder.build(request, transcript)
        await transcript.close()
        assert says in caught.value.message
        assert leftovers(yard) == []

    in_yard(test)


LOCK = """
version = 1
requires-python = ">=3.9"

[[package]]
name = "tinydep"
version = "1.0"
source = { registry = "/wheels" }
wheels = [{ path = "tinydep-1.0-py3-none-any.whl" }]

[[package]]
name = "x"
version = "1"
source = { SOURCE = "." }
dependencies = [{ name = "tinydep" }]
"""

EDITABLE = """
import pathlib, zipfile

def build_editable(directory, settings=None, metadata=None):
    info = "x-1.dist-info"
    with zipfile.ZipFile(pathlib.Path(directory) / "x-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("x.pth", "/app/src\\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: x\\nVersion: 1\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return "x-1-py3-none-any.whl"
"""


def test_builds_from_a_lock(in_yard: InYard) -> None:
    project = '[project]\nname = "x"\nversion = "1"\ndependencies = ["tinydep"]\n'
    files = {
        "Procfile": "web: tinydep-hello\n",
        "pyproject.toml": project,
        "uv.lock": LOCK.replace("SOURCE", "virtual"),
    }

    async def test(yard: Yard) -> None:
        slug = await yard.build(files)
        assert "tinydep==1.0" in yard.said
        assert await run(yard, slug, "tinydep-hello") == "hello from tinydep\n"
        assert await yard.build(files) == slug
        assert "Using the cache: uv.lock is unchanged" in yard.said

    in_yard(test)


def test_the_project_itself_is_installed_in_place(in_yard: InYard) -> None:
    files = {
        "Procfile": "web: x\n",
        "pyproject.toml": BACKEND.replace(
            'version = "1"', 'version = "1"\ndependencies = ["tinydep"]'
        ),
        "backend.py": EDITABLE,
        "src/mine.py": "import tinydep\nprint('mine')\n",
        "uv.lock": LOCK.replace("SOURCE", "editable"),
    }
    unlocked = {name: text for name, text in files.items() if name != "uv.lock"}

    async def test(yard: Yard) -> None:
        for tree in (files, files, unlocked):
            slug = await yard.build(tree)
            assert await run(yard, slug, "python", "-m", "mine") == "mine\n"

    in_yard(test)


def test_slugignore_and_lfs(in_yard: InYard) -> None:
    pointer = (
        "version https://git-lfs.github.com/spec/v1\noid sha256:" + "a" * 64 + "\nsize 12345\n"
    )

    async def test(yard: Yard) -> None:
        slug = await yard.build(
            {
                "Procfile": "web: x\n",
                ".slugignore": "/docs\n*.psd\n",
                ".gitattributes": "*.bin filter=lfs\n",
                "docs/deep/a": "x",
                "art/b.psd": "x",
                "art/c.bin": pointer,
            }
        )
        found = {str(path.relative_to(slug.path)) for path in slug.path.rglob("*")}
        assert found >= {"art/c.bin", "Procfile"}
        assert not found & {"docs", "docs/deep", "art/b.psd"}
        assert ".slugignore takes away 2 paths" in yard.said
        assert " !     1 files are Git LFS pointers" in yard.said
        assert leftovers(yard) == []

    in_yard(test)


def test_the_build_sees_the_config_and_the_transcript_does_not(in_yard: InYard) -> None:
    config = {"SECRET": "correct horse", "PATH": "/nowhere", "URL": "https://u:pa55word@h/"}

    async def test(yard: Yard) -> None:
        names = ("SECRET", "URL", "HOME")
        code = f"import os\nraise SystemExit('|'.join(os.environ[k] for k in {names}))"
        with pytest.raises(Invalid):
            await yard.build(backend(code), config=config)
        assert "[masked]|[masked]|/app" in yard.said
        kept = yard.builder.transcript_path(yard.last_id).read_text()
        for text in (yard.said, kept):
            assert "correct" not in text
            assert "pa55word" not in text

    in_yard(test)


def test_a_config_var_does_not_lead_the_build_astray(in_yard: InYard) -> None:
    config = {
        "UV_CACHE_DIR": "/usr/nowhere",
        "UV_PROJECT_ENVIRONMENT": "/elsewhere",
        "VIRTUAL_ENV": "/elsewhere",
        "PATH": "/nowhere",
        "TMPDIR": "/nowhere",
        "HOME": "/nowhere",
    }

    async def test(yard: Yard) -> None:
        slug = await yard.build(APP, config=config)
        assert await run(yard, slug, "tinydep-hello") == "hello from tinydep\n"

    in_yard(test)


def test_a_build_may_write_to_its_own_places_only(in_yard: InYard) -> None:
    code = (
        "import os\n"
        "def may(path):\n"
        "    try:\n"
        "        open(path + '/probe', 'w').close()\n"
        "        return 1\n"
        "    except OSError:\n"
        "        return 0\n"
        "places = ('/app', '/cache', '/scratch', '/tmp', '/usr', '/etc', '/', '/oriel/bin')\n"
        "seen = sorted(os.listdir('/'))\n"
        "raise SystemExit(f'{[may(p) for p in places]} {os.getuid()} {\"work\" in seen}')"
    )

    async def test(yard: Yard) -> None:
        with pytest.raises(Invalid):
            await yard.build(backend(code))
        assert f"[1, 1, 1, 1, 0, 0, 0, 0] {UID} False" in yard.said

    in_yard(test)


def test_no_app_sees_the_cache_of_another(in_yard: InYard) -> None:
    async def test(yard: Yard) -> None:
        await yard.build(APP)
        await yard.build(APP, app_id="app-2")
        assert "Using the cache" not in yard.said
        look = "import os\nraise SystemExit('own=%d' % len(os.listdir('/cache/kept')))"
        with pytest.raises(Invalid):
            await yard.build(backend(look), app_id="app-3")
        assert "own=1\n" in yard.said
        await yard.builder.forget("app-1")
        assert sorted(path.name for path in (yard.data / "slugs").iterdir()) == ["app-2"]
        assert "app-1" not in [path.name for path in (yard.data / "caches").iterdir()]

    in_yard(test)


def test_the_cache_is_bounded(in_yard: InYard) -> None:
    async def test(yard: Yard) -> None:
        for number in range(4):
            await yard.build({**APP, "requirements.txt": f"tinydep==1.0 # {number}\n"})
        kept = yard.data / "caches" / "app-1" / "kept"
        assert len(list(kept.iterdir())) == 2
        await yard.build({**APP, "requirements.txt": "tinydep==1.0 # 3\n"})
        assert "Using the cache" in yard.said

    in_yard(test, Limits(environments_kept=2))


def test_a_cache_over_its_size_is_emptied_but_for_nothing(in_yard: InYard) -> None:
    async def test(yard: Yard) -> None:
        await yard.build(APP)
        assert list((yard.data / "caches" / "app-1").glob("kept/*")) == []

    in_yard(test, Limits(cache_bytes_max=4096))


def test_a_build_that_takes_too_long_is_stopped(in_yard: InYard) -> None:
    async def test(yard: Yard) -> None:
        with pytest.raises(Invalid, match="longer than 0.025 minutes and was stopped"):
            await yard.build(backend("import time\ntime.sleep(60)"))
        assert leftovers(yard) == []

    in_yard(test, Limits(build_s=1.5))


def test_a_slug_too_large_is_refused_with_its_size(in_yard: InYard) -> None:
    async def test(yard: Yard) -> None:
        with pytest.raises(TooLarge, match=r"Compiled slug size: 2.0M is too large \(max is 1M\)"):
            await yard.build({"Procfile": "web: x", "big": b"x" * (2 << 20)})
        with pytest.raises(TooLarge, match="more than 50 files"):
            await yard.build({"Procfile": "web: x", **{f"f{n}": "x" for n in range(50)}})

    in_yard(test, Limits(slug_bytes_max=1 << 20, files_max=50))


def test_a_cancelled_build_leaves_nothing_running(in_yard: InYard) -> None:
    async def test(yard: Yard) -> None:
        code = "import time\nopen('/cache/begun', 'w').close()\ntime.sleep(60)"
        building = asyncio.create_task(yard.build(backend(code)))
        begun = yard.data / "caches" / "app-1" / "begun"
        async with asyncio.timeout(30):
            while not begun.exists():
                await asyncio.sleep(0.01)
        building.cancel()
        with pytest.raises(asyncio.CancelledError):
            await building
        assert leftovers(yard) == []
        assert not sandboxes_of(yard.data)

    in_yard(test)


def test_builds_wait_for_their_turn(in_yard: InYard) -> None:
    async def test(yard: Yard) -> None:
        slugs = await asyncio.gather(*(yard.build({"Procfile": f"web: {n}"}) for n in range(3)))
        assert len({slug.digest for slug in slugs}) == 3

    in_yard(test, Limits(builds_at_once=1))


def test_what_a_kill_left_is_ended_and_failed(in_yard: InYard, tmp_path: Path) -> None:
    async def test(yard: Yard) -> None:
        db = Database.open(f"sqlite:///{tmp_path}/oriel.db", SystemClock())
        try:
            request, transcript = await yard.prepared({"Procfile": "web: x"}, {}, {})
            await transcript.close()
            db.write_now(
                lambda conn: builds.start(
                    conn,
                    build_id=request.build_id,
                    app_id="app-1",
                    commit="d706b4a",
                    by_id="1",
                    by_email="ned@foobazco.com",
                    now=datetime.now(UTC),
                )
            )
            what = Confinement(("/bin/sleep", "60"), {}, UID, cwd="/")
            read, write = os.pipe()
            left = await yard.sandboxes.launch(
                what,
                stdin=None,
                stdout=write,
                stderr=None,
                status_path=request.workspace / "x.status",
            )
            os.close(read)
            os.close(write)
            failed = await yard.builder.recover(db)
            assert [(build.id, build.status) for build in failed] == [(request.build_id, "failed")]
            await left.wait()
            assert leftovers(yard) == []
            assert yard.builder.transcript_path(request.build_id).exists()
            assert await yard.builder.recover(db) == []
            assert await yard.builder.recover() == []
        finally:
            db.close()

    in_yard(test)
