"""Owns `ps:wait`: come back when all processes run the newest release, or when they will not."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

import click

from oriel.cli import exits, render, session, terminal
from oriel.cli.commands import ps
from oriel.cli.feed import Feed
from oriel.cli.options import example, with_app, with_json, wrong
from oriel.client.refusal import Refusal

TIMEOUT = "5m"
_DURATION = re.compile(r"(?:\d{1,5}[smh])+|\d{1,6}", re.ASCII)
_PART = re.compile(r"(\d+)([smh]?)", re.ASCII)
_UNIT_S = {"": 1, "s": 1, "m": 60, "h": 3600}


@click.command(epilog=example("oriel ps:wait", "oriel ps:wait --type web --timeout 10m"))
@click.option("-t", "--type", "type_", metavar="TYPE", help="Only processes of this type.")
@click.option(
    "--timeout", metavar="AGE", default=TIMEOUT, help=f"How long at most: 90s, 10m, 1h ({TIMEOUT})."
)
@with_app
@with_json
def wait(
    type_: str | None, timeout: str, app: str | None, remote: str | None, as_json: bool
) -> int:
    """Wait until every process runs the newest release.

    Exit code 12 when one crashed or was stopped, or when the time ran out; 11 when the release
    failed.
    """
    timeout_s = _seconds(timeout)
    name = session.app(app, remote)
    begun_s = time.monotonic()
    with _Progress(quiet=as_json) as progress:
        seen = _until_up(Feed(session.client(), name), name, type_, timeout_s, progress)
    if as_json:
        waited_s = round(time.monotonic() - begun_s, 3)
        dynos = _counted(seen["dynos"], type_)
        render.emit_json({"release": _target(seen), "waited_s": waited_s, "dynos": dynos})
    return exits.DONE


def _until_up(
    feed: Feed, name: str, type_: str | None, timeout_s: float, progress: _Progress
) -> dict[str, Any]:
    deadline_s = time.monotonic() + timeout_s
    seen: dict[str, Any] = {}
    while True:
        left_s = deadline_s - time.monotonic()
        told = feed.next(max(0.0, left_s), away=progress.away) if left_s > 0 or not seen else None
        if told is None:
            raise _late(seen, name, type_, timeout_s)
        before, seen = seen, told
        _check_release(before, seen, name)
        dynos, target = _counted(seen["dynos"], type_), _target(seen)
        there = [each for each in dynos if _runs(each, target)]
        progress.show(target, type_, len(there), len(dynos))
        if len(there) == len(dynos) and not _is_pending(seen):
            return seen
        _check_dynos(dynos, target, name)


def _target(seen: dict[str, Any]) -> int:
    """The release that all shall run: one under way, or else the head."""
    return int((seen["newest"]["version"] if _is_pending(seen) else seen["release"]) or 0)


def _is_pending(seen: dict[str, Any]) -> bool:
    return bool(seen["newest"]) and seen["newest"]["status"] == "pending"


def _counted(dynos: Sequence[ps.Json], type_: str | None) -> list[ps.Json]:
    return [
        each
        for each in sorted(dynos, key=ps.place)
        if each["type"] not in ps.ONCE and type_ in (None, each["type"])
    ]


def _version(dyno: ps.Json) -> int:
    return int((dyno.get("release") or {}).get("version") or 0)


def _runs(dyno: ps.Json, target: int) -> bool:
    return dyno["state"] in ("up", "idle") and _version(dyno) >= target


def _check_release(before: dict[str, Any], seen: dict[str, Any], name: str) -> None:
    """A release that was waited for may fail: then the one before it goes on."""
    if not before or not _is_pending(before):
        return
    newest = seen["newest"]
    if newest["version"] == before["newest"]["version"] and newest["status"] == "failed":
        raise Refusal(
            f"Release v{newest['version']} of {name} failed; v{seen['release']} goes on.",
            id="release_failed",
            hint=f"See why: oriel releases:info v{newest['version']} -a {name}",
        )


def _check_dynos(dynos: Sequence[ps.Json], target: int, name: str) -> None:
    for each in dynos:
        if _version(each) < target or each["state"] not in ("crashed", "down"):
            continue
        reason = (each.get("oriel") or {}).get("reason") or ""
        what = "is down" if each["state"] == "down" else "crashed"
        raise Refusal(
            f"{each['name']} {what} on v{_version(each)}{': ' + reason if reason else ''}.",
            id="not_up",
            hint=f"See why: oriel why {each['name']} -a {name}",
        )


def _late(seen: dict[str, Any], name: str, type_: str | None, timeout_s: float) -> Refusal:
    target = _target(seen)
    left = [each for each in _counted(seen["dynos"], type_) if not _runs(each, target)]
    states = ", ".join(f"{each['name']} is {each['state']}" for each in left) or "it is pending"
    return Refusal(
        f"Not every process of {name} runs v{target} after {timeout_s:.0f} s: {states}.",
        id="not_up",
        hint=f"Wait longer: oriel ps:wait --timeout 15m -a {name}",
    )


def _seconds(text: str) -> float:
    text = text.strip()
    if not _DURATION.fullmatch(text):
        raise wrong(f"{terminal.shown(text)} is no age: use 90s, 10m or 1h30m.")
    return float(sum(int(number) * _UNIT_S[unit] for number, unit in _PART.findall(text)))


class _Progress:
    """One line that grows: `Waiting for every process to run v7... 1/3, 3/3, done`."""

    def __init__(self, *, quiet: bool) -> None:
        """`quiet` where the answer is JSON."""
        self._quiet = quiet
        self._target = 0
        self._last = ""
        self._is_away = False
        self._open = False

    def __enter__(self) -> _Progress:
        """Nothing is said yet."""
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """End the line as the waiting ended."""
        if self._open:
            print(" failed" if kind else " done", flush=True)

    def show(self, target: int, type_: str | None, there: int, of: int) -> None:
        """How far it is."""
        self._is_away = False
        if self._quiet:
            return
        if target != self._target:
            who = f"every {type_} process" if type_ else "every process"
            print(f"{' ' if self._open else ''}Waiting for {who} to run v{target}...", end="")
            self._target, self._open, self._last = target, True, ""
        count = f" {there}/{of}" if of else " there is none"
        if count != self._last:
            print(f"{count},", end="", flush=True)
            self._last = count

    def away(self, refusal: Refusal) -> None:
        """The server is away for a moment; said once."""
        if refusal.id != "back" and not self._is_away:
            terminal.note(f"\n{refusal.message} Waiting for it.")
        self._is_away = refusal.id != "back"
