"""Owns apps' own pages for errors and maintenance: fetched when their config var is set, and kept.

Must not know how they are served: that is the router's. A fetch that fails is said in the app's
log, and the page from before stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

from oriel import faults
from oriel.egress import Dialer
from oriel.egress.http import Answer, fetch
from oriel.router.pages import one_line
from oriel.router.table import PAGE_BYTES_MAX, check_page

VARS = {"ERROR_PAGE_URL": "error", "MAINTENANCE_PAGE_URL": "maintenance"}
"""Config vars, and the page that each is for."""

FETCH_TIMEOUT_S = 15.0
PARALLEL = 4

_log = logging.getLogger("oriel.control.pages")


class Pages:
    """Every app's own pages, in memory and on disk."""

    def __init__(
        self,
        directory: Path,
        dialer: Dialer,
        say: Callable[[str, str], Awaitable[None]],
        changed: Callable[[], None],
    ) -> None:
        """`say(app_id, text)` puts a line into the app's log; `changed` is told of a new page."""
        self._directory = directory
        self._dialer = dialer
        self._say = say
        self._changed = changed
        self._turns = asyncio.Semaphore(PARALLEL)
        self._tasks: dict[tuple[str, str], tuple[str, asyncio.Task[None]]] = {}
        self._kept: dict[tuple[str, str], tuple[str, str]] = {}
        for path in directory.glob("*.json") if directory.is_dir() else ():
            app_id, _, page = path.stem.rpartition(".")
            with contextlib.suppress(OSError, ValueError, KeyError, faults.Fault):
                found = json.loads(path.read_text("utf-8"))
                check_page(str(found["html"]))
                self._kept[app_id, page] = (str(found["url"]), str(found["html"]))

    def of(self, app_id: str, page: str) -> str:
        """The app's own `error` or `maintenance` page in HTML; empty without one."""
        return self._kept.get((app_id, page), ("", ""))[1]

    def look(self, app_id: str, config: Mapping[str, str]) -> None:
        """Follow an app's config: fetch what is new in the background, drop what is set no more."""
        for var, page in VARS.items():
            url = config.get(var, "").strip()
            key = (app_id, page)
            asked, task = self._tasks.get(key, ("", None))
            if task and asked != url:
                task.cancel()
            if not url:
                self._drop(key)
            elif self._kept.get(key, ("",))[0] != url and not (task and asked == url):
                fetching = asyncio.create_task(self._fetch(key, var, url), name=f"page {var}")
                self._tasks[key] = (url, fetching)
                fetching.add_done_callback(partial(self._done, key))

    def forget(self, app_id: str) -> None:
        """The app is gone."""
        self.look(app_id, {})

    async def close(self) -> None:
        """Give up what is being fetched: it is fetched again after the next start."""
        tasks = [task for _, task in self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, key: tuple[str, str], task: asyncio.Task[None]) -> None:
        if self._tasks.get(key, ("", None))[1] is task:
            del self._tasks[key]
        if not task.cancelled() and task.exception():
            _log.error("a page could not be kept: %s", task.exception())

    async def _fetch(self, key: tuple[str, str], var: str, url: str) -> None:
        try:
            async with self._turns:
                answer = await fetch(
                    self._dialer, url, timeout_s=FETCH_TIMEOUT_S, body_max=PAGE_BYTES_MAX + 1
                )
            html = page_of(answer)
            await asyncio.to_thread(self._keep, key, url, html)
        except (faults.Fault, OSError) as problem:
            why = problem.message if isinstance(problem, faults.Fault) else str(problem)
            stays = "The page before stays." if self.of(*key) else "Oriel's own page stays."
            await self._say(key[0], f"{var} could not be fetched: {why} {stays}")
            return
        self._kept[key] = (url, html)
        self._changed()
        await self._say(key[0], f"{var} fetched: {len(html.encode())} bytes")

    def _keep(self, key: tuple[str, str], url: str, html: str) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(key)
        draft = path.with_suffix(".new")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump({"url": url, "html": html}, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)

    def _drop(self, key: tuple[str, str]) -> None:
        if self._kept.pop(key, None) is not None:
            self._path(key).unlink(missing_ok=True)
            self._changed()

    def _path(self, key: tuple[str, str]) -> Path:
        return self._directory / f"{key[0]}.{key[1]}.json"


def page_of(answer: Answer) -> str:
    """The page in an answer; raises Invalid for what is none."""
    if answer.status != 200:
        raise faults.Invalid(f"The answer was {answer.status}, not 200.")
    kind = answer.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "text/html":
        raise faults.Invalid(f"It is {kind[:60] or 'of no type'}, not text/html.")
    if len(answer.body) > PAGE_BYTES_MAX:
        raise faults.TooLarge(f"It has more than {PAGE_BYTES_MAX // 1024} kB.")
    try:
        html = answer.body.decode("utf-8")
    except UnicodeDecodeError:
        raise faults.Invalid("It is not UTF-8.") from None
    if not html.strip():
        raise faults.Invalid("It is empty.")
    html = one_line(html)
    check_page(html)
    return html
