"""A URL that is its own permission: nobody else can make one, and it ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel import faults
from oriel.control import capability
from oriel.ledger import Vault

NOW = datetime(2011, 6, 19, 8, 35, tzinfo=UTC)
VAULT = Vault(b"k" * 32)
LIVES = timedelta(minutes=5)


def issued(**claims: object) -> str:
    return capability.issue(VAULT, "log-session", claims, NOW, LIVES)


def test_what_was_issued_is_redeemed() -> None:
    text = issued(app="a", lines=5)
    assert capability.redeem(VAULT, "log-session", text, NOW)["lines"] == 5


@pytest.mark.parametrize(
    ("vault", "purpose", "when"),
    [
        (VAULT, "log-session", NOW + LIVES + timedelta(seconds=1)),
        (VAULT, "release-output", NOW),
        (Vault(b"x" * 32), "log-session", NOW),
    ],
    ids=["expired", "for another purpose", "another master key"],
)
def test_it_is_refused(vault: Vault, purpose: str, when: datetime) -> None:
    with pytest.raises(faults.NotFound):
        capability.redeem(vault, purpose, issued(app="a"), when)


@given(st.text(max_size=300))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(faults.NotFound):
        capability.redeem(VAULT, "log-session", text, NOW)


@given(st.data())
def test_a_changed_character_is_refused(data: st.DataObject) -> None:
    text = issued(app="a", lines=5)
    place = data.draw(st.integers(0, len(text) - 2))
    other = "A" if text[place] != "A" else "B"
    changed = text[:place] + other + text[place + 1 :]
    with pytest.raises(faults.NotFound):
        capability.redeem(VAULT, "log-session", changed, NOW)
