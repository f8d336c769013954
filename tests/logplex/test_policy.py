"""A channel's settings: kept, refused, never unreadable."""

from __future__ import annotations

from pathlib import Path

import pytest

from oriel import faults
from oriel.logplex import policy
from oriel.logplex.policy import Policy
from tests.logplex.conftest import Stand


def test_the_defaults_are_a_gibibyte_and_thirty_days() -> None:
    assert (Policy().max_bytes, Policy().max_age_s, Policy().flood) == (1 << 30, 2_592_000, "drop")


def test_a_channel_keeps_its_policy(stand: Stand) -> None:
    stand.channel.set_policy({"max_bytes": 1_000_000, "flood": "block"})
    stand.reopen()
    assert stand.channel.policy == Policy(max_bytes=1_000_000, flood="block")


@pytest.mark.parametrize(
    "wish",
    [
        {"max_bytes": 1},
        {"max_bytes": "1000000"},
        {"max_bytes": True},
        {"max_age_s": 0},
        {"flood": "perhaps"},
        {"rate_bytes": 0},
        {"colour": 1},
    ],
)
def test_what_cannot_be_is_refused(wish: dict[str, object]) -> None:
    with pytest.raises(faults.Invalid):
        policy.changed(Policy(), wish)


@pytest.mark.parametrize("text", [b"", b"{", b'{"version":1,"max_bytes":5}\n00000000\n'])
def test_a_file_that_cannot_be_read_means_the_default(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "policy").write_bytes(text)
    assert policy.load(tmp_path / "policy") == Policy()
