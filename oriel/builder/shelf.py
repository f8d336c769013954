"""Owns where slugs stand: DATA/slugs/APP/DIGEST, never changed once there.

Must not know how they are made. A slug comes by one rename, so it is there whole or not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

_SYNC_TIMEOUT_S = 30.0


class Shelf:
    """The slugs below one directory."""

    def __init__(self, directory: Path) -> None:
        """Nothing is touched yet."""
        self._directory = directory

    def path(self, app_id: str, digest: str) -> Path:
        """Where a slug is, or would be."""
        return self._directory / app_id / digest

    async def settle(
        self, app_id: str, digest: str, tree: Path, record: Mapping[str, object]
    ) -> Path:
        """Move a finished tree to its place; the same slug again is thrown away."""
        place = self.path(app_id, digest)
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.chmod(tree, 0o755)  # noqa: S103 - a slug's top, as any directory in it
        if place.exists():
            await asyncio.to_thread(shutil.rmtree, tree)
        else:
            os.rename(tree, place)
        _write(place.with_name(f"{digest}.json"), {"version": 1, **record})
        await _sync(place.parent)
        return place

    async def forget(self, app_id: str) -> None:
        """Throw away all slugs of an app."""
        await asyncio.to_thread(shutil.rmtree, self._directory / app_id, ignore_errors=True)


def _write(path: Path, record: Mapping[str, object]) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(record, indent=1) + "\n")
    fresh.replace(path)


async def _sync(directory: Path) -> None:
    """The slug must be on disk before a release that survives a power cut names it."""
    process = await asyncio.create_subprocess_exec("sync", "-f", os.fspath(directory))
    try:
        async with asyncio.timeout(_SYNC_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        pass  # a busy disk: what is written will be there, only later
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
