"""Owns what a drain says in its app's channel. Pure; must not know when."""

from __future__ import annotations

from oriel.logplex.drains.machine import Health
from oriel.logplex.drains.wording import loss_text


def of(tell: str, token: str, url: str, health: Health) -> str:
    """What the machine wants told; empty for nothing. `url` is without its secrets."""
    if tell == "paused":
        return (
            f"Drain {token} paused: {url} answered {health.said}. Lines wait; it is asked again "
            f"each hour, and at once by: oriel drains:test {token}"
        )
    if tell == "resumed":
        return f"Drain {token} goes on: {url} answered {health.said}."
    if tell == "untrusted":
        return f'Error L14 (certificate validation): error="{health.told}" uri="{url}"'
    return ""


def loss(token: str, lines: int, since_us: int) -> str:
    """L10 as the channel has it."""
    return loss_text(lines, since_us, f"drain '{token}' ").decode()
