"""Owns asking about trees without holding up control: `tree.py` in a process of its own.

Must not know what the answers are for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oriel.builder import tree
from oriel.faults import Broken, Invalid, TooLarge

_SCRIPT = Path(tree.__file__)


@dataclass(frozen=True, slots=True)
class Weight:
    """A finished tree."""

    digest: str
    size_bytes: int
    files: int


async def survey(root: Path, files_max: int, size_bytes_max: int) -> tree.Survey:
    """Look a pushed tree over; Invalid or TooLarge with what no slug may hold."""
    return tree.Survey(**await _ask("survey", root, files_max, size_bytes_max))


async def weigh(root: Path, files_max: int, size_bytes_max: int) -> Weight:
    """A built tree's digest and size; TooLarge when it is too much."""
    return Weight(**await _ask("digest", root, files_max, size_bytes_max))


async def measure(root: Path, files_max: int, size_bytes_max: int) -> None:
    """TooLarge when a tree that still grows has become too large."""
    await _ask("measure", root, files_max, size_bytes_max)


async def _ask(verb: str, root: Path, files_max: int, size_bytes_max: int) -> dict[str, Any]:
    # -I and -S: nothing of the machine's or a user's Python set-up is loaded, and it starts fast.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(_SCRIPT)),
        *(verb, os.fspath(root), str(files_max), str(size_bytes_max)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"LC_ALL": "C.UTF-8"},
    )
    try:
        answer, errors = await process.communicate()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        last = errors.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise Broken(f"The tree could not be read: {last}")
    result: dict[str, Any] = json.loads(answer)
    if "refused" in result:
        kind = TooLarge if result["too_much"] else Invalid
        raise kind(str(result["refused"]))
    return result
