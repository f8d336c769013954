"""How a password is kept and compared."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies

from oriel.faults import Invalid
from oriel.people import passwords

GOOD = "correct horse battery"
HASH = passwords.hash_password(GOOD)


def test_the_right_one_and_no_other() -> None:
    assert HASH.startswith("scrypt$15$8$1$")
    assert GOOD not in HASH
    assert passwords.verify(GOOD, HASH)
    assert not passwords.verify(GOOD + "!", HASH)
    assert not passwords.verify("", HASH)
    assert passwords.hash_password(GOOD) != HASH


def test_two_spellings_of_one_word_are_one_password() -> None:
    hash = passwords.hash_password("caf\u00e9 caf\u00e9 caf\u00e9")
    assert passwords.verify("cafe\u0301 cafe\u0301 cafe\u0301", hash)


def test_no_account_costs_as_much_and_never_fits() -> None:
    assert not passwords.verify(GOOD, None)
    assert not passwords.verify(GOOD, passwords.DUMMY)
    assert not passwords.verify("\ud800", passwords.DUMMY)


@settings(deadline=None, max_examples=40)
@given(hash=strategies.text(max_size=60) | strategies.from_regex(r"scrypt(\$[0-9=A-z]{1,4}){5}"))
def test_a_damaged_hash_fits_nothing(hash: str) -> None:
    assert passwords.verify(GOOD, hash) is False


def test_a_hash_that_asks_for_too_much_memory_is_refused() -> None:
    assert not passwords.verify(GOOD, HASH.replace("$15$", "$20$"))
    assert not passwords.verify(GOOD, HASH.replace("$8$", "$8000$"))
    assert not passwords.verify(GOOD, HASH.replace("$15$", "$-1$"))


@pytest.mark.parametrize(
    "bad", ["", "short", "x" * 513, "aaaaaaaaaaaa", "ababababab", "Password123", "long enough\0"]
)
def test_what_is_too_easily_guessed(bad: str) -> None:
    with pytest.raises(Invalid) as caught:
        passwords.check_strength(bad)
    assert len(bad) < 6 or bad not in caught.value.message


def test_a_good_one_passes() -> None:
    passwords.check_strength(GOOD)
    passwords.check_strength("пароль из слов")
