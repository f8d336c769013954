"""Oriel: a self-hosted platform you can see into.

One package per noun of the domain; ``docs/architecture.md`` is the map. Nothing runs on import.
"""

__version__ = "0.1.0"
