"""What config may hold; each refusal names the key and never the value."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies

from oriel.faults import Broken, Invalid
from oriel.ledger.config import SIZE_BYTES_MAX, apply, check, dump, load

KEYS = strategies.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True)
VALUES = strategies.text(strategies.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(config=strategies.dictionaries(KEYS, VALUES, max_size=8))
def test_what_is_allowed_comes_back_as_it_was(config: dict[str, str]) -> None:
    check(config)
    assert load(dump(config)) == config


@given(
    config=strategies.dictionaries(KEYS, VALUES, max_size=4),
    changes=strategies.dictionaries(KEYS, strategies.none() | VALUES, max_size=4),
)
def test_changes_are_laws(config: dict[str, str], changes: dict[str, str | None]) -> None:
    changed = apply(config, changes)
    for key in {*config, *changes}:
        wanted = changes.get(key) if key in changes else config[key]
        assert changed.get(key) == wanted
    assert set(changed) <= {*config, *changes}
    assert apply(changed, changes) == changed


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"1FOO": "hush"}, "1FOO"),
        ({"FOO-BAR": "hush"}, "FOO-BAR"),
        ({"": "hush"}, "''"),
        ({"FOO": "hush\0"}, "FOO"),
        ({"FOO": "hush\ud800"}, "FOO"),
        ({"FOO": 3}, "FOO"),
        ({"FOO": ["hush"]}, "FOO"),
        ({"SMALL": "hush", "LARGE": "hush" * 20_000}, "LARGE"),
        ({"A" * 256: "hush"}, "AAA"),
    ],
)
def test_what_is_not_allowed_is_named_by_its_key(config: dict[str, str], named: str) -> None:
    with pytest.raises(Invalid) as caught:
        check(config)
    assert named in caught.value.message
    assert "hush" not in caught.value.message + caught.value.hint


def test_the_limit_is_exact_and_in_bytes() -> None:
    check({"K": "x" * (SIZE_BYTES_MAX - 1)})
    check({"K": "ü" * ((SIZE_BYTES_MAX - 1) // 2)})
    with pytest.raises(Invalid, match=str(SIZE_BYTES_MAX + 1)):
        check({"K": "x" * SIZE_BYTES_MAX})


@pytest.mark.parametrize("data", [b"[]", b"3", b"null"])
def test_something_else_is_our_own_mistake(data: bytes) -> None:
    with pytest.raises(Broken):
        load(data)
