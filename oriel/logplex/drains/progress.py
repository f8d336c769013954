"""Owns how a drain's state moves: what was taken, what retention took first. Pure; knows no files.

A drain reads ahead of what its receiver has surely taken. After a break it meets again what it
had met, also what is gone: each lost line is counted once all the same.
"""

from __future__ import annotations

from oriel.logplex.cursor import Position
from oriel.logplex.drains.place import State
from oriel.logplex.drains.reader import Gap


def taken(state: State, end: Position, lines: int, told: int) -> None:
    """The receiver has everything up to `end`; `told` lost lines were told with it."""
    if end.segment >= state.gap_end:
        state.counted = state.gap_end = 0
    state.position, state.until = str(end), ""
    state.delivered += lines
    state.lost, state.told = state.lost - told, 0


def missed(state: State, gap: Gap, now_us: int) -> int:
    """Count what is gone; returns how many lines of it were not counted before."""
    # From the kept position on, what was counted before is met again.
    fresh = gap.lines - (state.counted if gap.from_kept else 0)
    state.gap_end = max(state.gap_end, gap.end)
    if fresh <= 0:
        return 0
    if not state.lost:
        state.lost_since_us, state.lost_at_us = gap.since_us, now_us
    state.lost += fresh
    state.lost_total += fresh
    state.counted += fresh
    return fresh


def rewound(state: State, position: Position) -> None:
    """Everything from `position` on is said again."""
    state.position, state.until = str(position), ""
    state.counted = state.told = state.gap_end = 0
