"""Owns measuring a channel: how much lies beyond a place, and where a moment is.

Manifests answer for whole segments; only the two ends are read. Must not know drains.
"""

from __future__ import annotations

from dataclasses import dataclass

from oriel.logplex.channel import Channel
from oriel.logplex.cursor import Position
from oriel.logplex.lookback import Pause
from oriel.logplex.view import View

_PART_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Lag:
    """What a reader has before it."""

    lines: int = 0
    bytes: int = 0
    oldest_us: int = 0
    """When the oldest of it was said; 0 when there is none."""


async def lag(channel: Channel, place: Position, pause: Pause) -> Lag:
    """What lies from a place to the channel's end."""
    lines = size = oldest_us = 0
    for number in channel.segments():
        if number < place.segment:
            continue
        seal = channel.seal_of(number) if number != place.segment else None
        if seal and not seal.damaged:
            found = Lag(seal.lines(set(seal.sources)), seal.size, seal.first_us)
        else:
            found = await _beyond(channel, number, place, pause)
        lines, size = lines + found.lines, size + found.bytes
        oldest_us = oldest_us or found.oldest_us
    return Lag(lines, size, oldest_us)


async def _beyond(channel: Channel, number: int, place: Position, pause: Pause) -> Lag:
    record, byte = (place.record, place.byte) if number == place.segment else (0, 0)
    try:
        view = View(channel, number)
    except FileNotFoundError:
        return Lag()
    try:
        records, size = view.reach()
        own = view.record(record)
        if own and own[0].offset + byte >= own[1]:
            # It stands at the very end of its record.
            record, byte = record + 1, 0
            own = view.record(record)
        if own is None or record >= records:
            return Lag()
        lines, start = 0, own[0].offset + byte
        for at in range(start, size, _PART_BYTES):
            lines += view.read(at, min(at + _PART_BYTES, size)).count(b"\n")
            await pause()
        return Lag(lines, size - start, own[0].time_us)
    finally:
        view.close()


def place_at(channel: Channel, time_us: int) -> Position:
    """The place before the first record of that time or later; times never run backwards."""
    end = channel.extent
    for number in channel.segments():
        seal = channel.seal_of(number)
        if seal and not seal.damaged and seal.last_us < time_us:
            continue
        try:
            view = View(channel, number)
        except FileNotFoundError:
            continue
        try:
            low, high = 0, view.reach()[0]
            while low < high:
                middle = (low + high) // 2
                found = view.record(middle)
                if found is None or found[0].time_us < time_us:
                    low = middle + 1
                else:
                    high = middle
            if low < view.reach()[0]:
                return Position(number, low, 0)
        finally:
            view.close()
    return Position(end.segment, end.records, 0)
