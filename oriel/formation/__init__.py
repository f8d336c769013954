"""Owns the arithmetic of a formation: desired process counts less running ones makes orders.

Pure: must not know processes, SQL or time. One module: `quantities`.
"""

from oriel.formation.quantities import Orders, describe, diff

__all__ = ["Orders", "describe", "diff"]
