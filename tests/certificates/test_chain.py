"""What people upload: what serves is taken as it should be served, the rest gets a sentence."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.certificates import read
from oriel.certificates.chain import is_trusted
from oriel.faults import Invalid

from .making import certificate, key, key_text, pair, text

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_chain_is_put_in_order_and_the_root_left_out() -> None:
    root_key, middle_key = key("p384"), key("rsa2048")
    root = certificate(NOW, mine=root_key, ca=True, common="root")
    middle = certificate(NOW, mine=middle_key, by=(root, root_key), ca=True, common="middle")
    leaf = certificate(NOW, "www.Example.com", "*.example.org", by=(middle, middle_key))
    stranger = certificate(NOW, mine=key("p384", 1), by=(root, root_key), common="stranger")
    for files in ((leaf, middle, root), (root, middle, leaf), (middle, leaf), (leaf, middle)):
        found = read("Bag Attributes\n" + text(*files), "junk\n" + key_text(key()), NOW)
        assert found.chain == text(leaf, middle)
        assert found.names == ("www.example.com", "*.example.org")
        assert (found.issuer, found.subject) == ("/CN=middle", "/CN=www.Example.com")
        assert (found.ends_at - found.starts_at) == timedelta(days=91)
        assert found.warnings == ()
        assert found.key.startswith("-----BEGIN PRIVATE KEY-----\n")
        assert "PRIVATE" not in repr(found)
    said = read(text(leaf, middle, stranger), key_text(key()), NOW).warnings
    assert said == ("1 of the file's certificates are not of its chain.",)
    assert "without the chain" in read(text(leaf), key_text(key()), NOW).warnings[0]


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa2048", "rsa4096"])
def test_every_kind_that_browsers_take(kind: str) -> None:
    made = certificate(NOW, "a.example.com", mine=key(kind))
    assert read(text(made), key_text(key(kind)), NOW).names == ("a.example.com",)


def test_a_common_name_is_a_name_where_there_is_no_other() -> None:
    made = certificate(NOW, common="old.example.com")
    assert read(text(made), key_text(key()), NOW).names == ("old.example.com",)


GOOD = pair(NOW, "a.example.com")
CASES: list[tuple[str, str, str]] = [
    (GOOD[0], pair(NOW, "a.example.com", number=1)[1], "does not belong to the certificate"),
    ("", GOOD[1], "no certificate in PEM form"),
    (GOOD[1], GOOD[1], "no certificate in PEM form"),
    (GOOD[0], "", "has no private key"),
    (GOOD[0], GOOD[0], "has no private key"),
    (GOOD[0], GOOD[1] * 2, "has 2 private keys"),
    (GOOD[0], key_text(key(), b"secret"), "is encrypted"),
    (GOOD[0].replace("MII", "MIJ", 1), GOOD[1], "cannot be read"),
    (GOOD[0], GOOD[1].replace("M", "N", 1), "cannot be read"),
    ("ü", GOOD[1], "not a PEM file"),
    (GOOD[0], "ü", "not a PEM file"),
    (GOOD[0] * 11, GOOD[1], "more than 10"),
    (text(certificate(NOW, "x.y", mine=key("rsa1024"))), key_text(key("rsa1024")), "1024 bits"),
    (
        text(certificate(NOW, "x.y", mine=key("p521"))),
        key_text(key("p521")),
        "browsers do not take",
    ),
    (pair(NOW, "x.y", ends=timedelta(hours=-1))[0], GOOD[1], "expired on 2026-03-01"),
    (text(certificate(NOW, *[f"a{n}.x.y" for n in range(101)])), GOOD[1], "101 names"),
]


@pytest.mark.parametrize(("chain", "private", "said"), CASES, ids=[said for _, _, said in CASES])
def test_what_cannot_serve_is_refused_with_a_sentence(chain: str, private: str, said: str) -> None:
    with pytest.raises(Invalid, match=said) as refused:
        read(chain, private, NOW)
    assert "secret" not in refused.value.message + refused.value.hint


def test_what_is_soon_over_or_not_yet_is_told() -> None:
    soon = pair(NOW, "a.b", ends=timedelta(days=20))
    assert read(*soon, NOW).warnings == ("It ends on 2026-03-21.",)
    later = pair(NOW, "a.b", starts=timedelta(days=2))
    assert read(*later, NOW).warnings == ("It is not valid before 2026-03-03 12:00 UTC.",)


@given(
    st.text() | st.binary().map(lambda it: it.decode("latin-1")), st.integers(0, 1500), st.data()
)
def test_whatever_comes_is_refused_or_read(junk: str, at: int, data: Any) -> None:
    chain, private = GOOD
    for each in ((chain[:at] + junk, private), (chain, private[:at] + junk), (junk, junk)):
        with contextlib.suppress(Invalid):
            read(*each, NOW)


def test_nobody_vouches_for_what_is_self_made() -> None:
    assert not is_trusted(GOOD[0], "a.example.com", NOW)
    assert not is_trusted(GOOD[0], "*.example.com", NOW)
