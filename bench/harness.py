"""Owns what every benchmark shares: rows with a bar, the table, the JSON line, CPU of a command.

A benchmark measures medians of several runs, everything side by side in one run, and exits 0
whether a bar holds or not. Must not know what is measured.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Row:
    """One figure; `bar` says in words what it should be, `holds` whether it is."""

    figure: str
    value: float
    unit: str
    bar: str | None = None
    holds: bool | None = None
    peers: Mapping[str, float] = field(default_factory=dict)


def report(name: str, rows: Sequence[Row]) -> None:
    """Print the rows for people, then the one JSON line."""
    heads = ("figure", "value", "unit", "bar", "holds")
    cells = [
        (row.figure, _number(row.value), row.unit, row.bar or "-", _word(row.holds)) for row in rows
    ]
    widths = [max(len(line[i]) for line in [heads, *cells]) for i in range(len(heads))]
    print()
    for line in [heads, tuple("-" * width for width in widths), *cells]:
        print(
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        )
        row = next((row for row in rows if row.figure == line[0]), None)
        for peer, value in (row.peers if row else {}).items():
            print(f"    beside it: {peer} {_number(value)} {row.unit if row else ''}")
    print()
    print(
        json.dumps(
            {
                "bench": name,
                "rows": [
                    {
                        "figure": row.figure,
                        "value": row.value,
                        "unit": row.unit,
                        "bar": row.bar,
                        "holds": row.holds,
                        "peers": dict(row.peers),
                    }
                    for row in rows
                ],
            }
        ),
        flush=True,
    )


def median(measure: Callable[[], float], times: int) -> float:
    """The median of `times` measurements."""
    return statistics.median(measure() for _ in range(times))


def cpu_s(argv: Sequence[str], env: Mapping[str, str] | None = None) -> float:
    """The CPU time that a command and all its children take, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        argv,
        env=dict(env) if env else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _number(value: float) -> str:
    return f"{value:,.3f}".rstrip("0").rstrip(".") if value < 1000 else f"{value:,.0f}"


def _word(holds: bool | None) -> str:
    return {True: "yes", False: "NO", None: "-"}[holds]
