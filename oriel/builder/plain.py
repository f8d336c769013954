"""Owns trees that need no build: they run as they were pushed."""

from __future__ import annotations

from collections.abc import Mapping

from oriel.builder.recipe import Machine, Plan, Tree


class Plain:
    """Any tree; asked last."""

    name = "no build"
    reads: tuple[str, ...] = ()

    def also_reads(self, tree: Tree) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def detect(self, tree: Tree) -> bool:
        """Always."""
        return True

    def plan(self, tree: Tree, machine: Machine) -> Plan:
        """No step."""
        return Plan(language="no build", lines=("-----> No build needed: the tree runs as it is",))

    def process_types(self, tree: Tree) -> Mapping[str, str]:
        """None."""
        return {}
