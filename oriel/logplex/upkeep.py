"""Owns the operations about keeping: policy, check, what is read of whom, and their status.

Must not know sockets.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

from oriel import faults
from oriel.logplex.intake import Intake
from oriel.logplex.policy import Policy
from oriel.logplex.retention import Retention
from oriel.logplex.shelf import Shelf

Operation = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]

_DAMAGE_SHOWN = 100


class Upkeep:
    """What people and control may ask about keeping."""

    def __init__(self, shelf: Shelf, intake: Intake, retention: Retention) -> None:
        """The parts are started and closed by whoever made them."""
        self._shelf = shelf
        self._intake = intake
        self._retention = retention
        self.operations: Mapping[str, Operation] = {
            "policy": self._policy,
            "check": self._check,
            "inlets": self._inlets,
        }

    def status(self) -> dict[str, Any]:
        """Counts, and the damage known of channels that are open."""
        damage = [
            {"channel": channel.name, **asdict(found)}
            for channel in self._shelf.open_channels
            for found in channel.damage.known.values()
        ]
        return {
            "retention": asdict(self._retention.counts),
            "damage": damage[:_DAMAGE_SHOWN],
            "why_blocked": self._intake.blocked,
            "last_id": self._shelf.last_id,
        }

    async def _policy(self, request: dict[str, Any]) -> dict[str, Any]:
        """The policy of a channel, after the changes in `set`. The channel is made if need be."""
        wish = request.get("set") or {}
        if not isinstance(wish, Mapping):
            raise faults.Invalid("The settings to change are an object.")
        with self._shelf.used(request.get("channel")) as channel:
            kept: Policy = channel.set_policy(wish)
            segments = channel.segments()
            return {
                "policy": asdict(kept),
                "segments": len(segments),
                "bytes": channel.kept_bytes(),
                "since_us": channel.since_us(),
            }

    async def _check(self, request: dict[str, Any]) -> dict[str, Any]:
        done = await self._shelf.check(request.get("channel"))
        return {"segments": done.segments, "damage": [asdict(each) for each in done.damage]}

    async def _inlets(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"inlets": self._intake.inlets()}
