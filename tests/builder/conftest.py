"""A builder with wheels of its own, for tests that really build."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from oriel.builder import Builder, BuildRequest, BuiltSlug, Environment, Limits, Transcript
from oriel.clock import SystemClock, new_id
from oriel.sandbox import Bind, Sandboxes
from tests.builder.githttp import UID
from tests.builder.wheels import wheel

APP_ID = "app-1"


@dataclass
class Yard:
    """Builds trees given as texts, and keeps what was said."""

    builder: Builder
    sandboxes: Sandboxes
    data: Path
    said: str = ""
    last_id: str = ""
    told: asyncio.Event = field(default_factory=asyncio.Event)

    async def build(
        self,
        files: Mapping[str, str | bytes],
        *,
        links: Mapping[str, str] | None = None,
        config: Mapping[str, str] | None = None,
        app_id: str = APP_ID,
    ) -> BuiltSlug:
        request, transcript = await self.prepared(files, links or {}, config or {}, app_id)
        try:
            return await self.builder.build(request, transcript)
        finally:
            await transcript.close()

    async def prepared(
        self,
        files: Mapping[str, str | bytes],
        links: Mapping[str, str],
        config: Mapping[str, str],
        app_id: str = APP_ID,
    ) -> tuple[BuildRequest, Transcript]:
        self.last_id, self.said = new_id(), ""
        workspace = await self.builder.workspace(self.last_id, UID)
        app = workspace / "app"
        for name, content in files.items():
            path = app / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        for name, target in links.items():
            (app / name).symlink_to(target)
        if os.geteuid() == 0:
            for path in [app, *app.rglob("*")]:
                os.chown(path, UID, UID, follow_symlinks=False)

        async def say(text: str) -> None:
            self.said += text
            self.told.set()

        transcript = Transcript(
            self.builder.transcript_path(self.last_id), say, secrets=config.values()
        )
        request = BuildRequest(self.last_id, app_id, UID, workspace, "d706b4a" * 5, config)
        return request, transcript


YardTest = Callable[[Yard], Awaitable[None]]


@pytest.fixture
def in_yard(tmp_path: Path) -> Callable[..., None]:
    """Run an async test with a yard; limits may be given."""
    wheels = tmp_path / "wheels"
    wheel(wheels, "tinydep", "1.0", "def main():\n    print('hello from tinydep')\n")

    def run(test: YardTest, limits: Limits | None = None) -> None:
        async def main() -> None:
            sandboxes = Sandboxes()
            await sandboxes.start()
            environment = Environment(
                env={"UV_FIND_LINKS": "/wheels", "UV_NO_INDEX": "1"},
                binds=(Bind(wheels, "/wheels"),),
            )
            data = tmp_path / "data"
            data.mkdir(mode=0o700)
            builder = Builder(
                data, sandboxes, SystemClock(), limits or Limits(), environment=environment
            )
            try:
                await test(Yard(builder, sandboxes, data))
            finally:
                await sandboxes.close()

        asyncio.run(main())

    return run
