"""Causes as tests write them down: in the words that people see."""

from __future__ import annotations

import re

from oriel.manifold.cause import Cause, Kind

_BY: dict[str, Kind] = {
    "stopped by ": "stopped",
    "restarted by ": "restarted",
    "scaled down by ": "scaled",
    "changed by ": "changed",
}


def because(words: str) -> Cause:
    """The cause that is shown as these words."""
    cause = _cause(words)
    assert cause.words == words
    return cause


def _cause(words: str) -> Cause:
    if not words:
        return Cause("ready")
    if match := re.fullmatch(r"exited with status (\d+)(?: \(\w+\))?", words):
        status = int(match[1])
        if status > 128:
            return Cause("signalled", status=status, signal=status - 128)
        return Cause("exited", status=status)
    if words == "ran out of memory (R15), exited with status 137 (SIGKILL)":
        return Cause("out_of_memory", status=137, signal=9)
    for start, kind in _BY.items():
        if words.startswith(start):
            return Cause(kind, by=words.removeprefix(start))
    if match := re.fullmatch(r"replaced by v(\d+)", words):
        return Cause("new_release", release=int(match[1]))
    if match := re.fullmatch(r"could not be launched: (.*)", words):
        return Cause("not_launched", why=match[1])
    if match := re.fullmatch(r"did not bind to its port within (\d+) s \(R10\)", words):
        return Cause("boot_timeout", timeout_s=int(match[1]))
    if match := re.fullmatch(r"used (\d+)M of (\d+)M memory \(R15\)", words):
        used, quota = (int(each) << 20 for each in match.groups())
        return Cause("memory_quota", memory_bytes=used, quota_bytes=quota)
    plain: dict[str, Cause] = {
        "no requests came": Cause("idled"),
        "the app is gone": Cause("destroyed"),
        "ended, with a status that is not known": Cause("lost"),
        "ran out of memory (R15), exited with status 137 (SIGKILL)": Cause(
            "out_of_memory", status=137, signal=9
        ),
    }
    return plain[words]
