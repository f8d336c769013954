"""Owns what config may hold and how it is written down. Pure; must not know SQL or keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeVar

from oriel.faults import Broken, Invalid
from oriel.lexicon import ConfigKey, Malformed

SIZE_BYTES_MAX = 64 * 1024
"""All keys and values of an app together."""

Key = TypeVar("Key", bound=str)
"""A key, checked at the edge or not yet."""


def check(config: Mapping[str, str]) -> None:
    """Raise Invalid, naming the key, for config that no process could be given."""
    sizes: dict[str, int] = {}
    for key, value in config.items():
        try:
            ConfigKey(key)
        except Malformed as error:
            raise Invalid(str(error)) from None
        sizes[key] = len(key) + _value_bytes(key, value)
    total = sum(sizes.values())
    if total > SIZE_BYTES_MAX:
        largest = max(sizes, key=lambda key: sizes[key])
        raise Invalid(
            f"Config vars may hold {SIZE_BYTES_MAX} bytes together, and these would be {total}; "
            f"the largest is {largest} with {sizes[largest]}.",
            hint=f"Keep {largest} in a file or a service, or make it shorter.",
        )


def apply(config: Mapping[str, str], changes: Mapping[Key, str | None]) -> dict[str, str]:
    """`config` with `changes` made and checked; None takes a key away."""
    # A plain text for each key: a subclass would not come back equal from the database.
    changed = {key: value for key, value in config.items() if key not in changes}
    changed |= {str(key): value for key, value in changes.items() if value is not None}
    check(changed)
    return changed


def dump(config: Mapping[str, str]) -> bytes:
    """Config as the bytes that are sealed."""
    return json.dumps(dict(config), sort_keys=True, separators=(",", ":")).encode()


def load(data: bytes) -> dict[str, str]:
    """The config that `dump` wrote."""
    config = json.loads(data)
    if not isinstance(config, dict):
        raise Broken("A release's config is not a table of keys and values.")
    return config


def _value_bytes(key: str, value: object) -> int:
    if not isinstance(value, str):
        raise Invalid(f"The value of config var {key} is not text.")
    if "\0" in value:
        raise Invalid(f"The value of config var {key} holds a NUL, which no environment can.")
    try:
        return len(value.encode())
    except UnicodeEncodeError:
        raise Invalid(f"The value of config var {key} is not valid Unicode.") from None
