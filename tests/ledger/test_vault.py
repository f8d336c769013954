"""What is sealed opens for its app and its place only, and a key file is never written over."""

from __future__ import annotations

import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, strategies

from oriel.faults import Broken, Unavailable
from oriel.ledger.vault import Vault, load_or_create

MASTER = bytes(range(32))
VAULT = Vault(MASTER)
KEY = VAULT.new_app_key()


@given(plaintext=strategies.binary(max_size=200), context=strategies.binary(max_size=40))
def test_what_was_sealed_opens(plaintext: bytes, context: bytes) -> None:
    sealed = VAULT.seal(KEY, plaintext, context)
    assert Vault(MASTER).open(KEY, sealed, context) == plaintext
    assert VAULT.seal(KEY, plaintext, context) != sealed
    assert len(plaintext) < 8 or plaintext not in sealed


@given(where=strategies.integers(0, 60), bit=strategies.integers(0, 7))
def test_one_changed_bit_anywhere_is_found(where: int, bit: int) -> None:
    sealed = bytearray(VAULT.seal(KEY, b"x" * 32, b"context"))
    assert len(sealed) == 61
    sealed[where] ^= 1 << bit
    with pytest.raises(Broken):
        VAULT.open(KEY, bytes(sealed), b"context")


@given(junk=strategies.binary(max_size=80))
def test_junk_is_refused(junk: bytes) -> None:
    with pytest.raises(Broken):
        VAULT.open(KEY, junk, b"")
    with pytest.raises((Broken, Unavailable)):
        VAULT.seal(junk, b"", b"")


def test_another_context_or_app_does_not_open_it() -> None:
    sealed = VAULT.seal(KEY, b"secret", b"release 1")
    with pytest.raises(Broken, match="changed or moved"):
        VAULT.open(KEY, sealed, b"release 2")
    with pytest.raises(Broken, match="changed or moved"):
        VAULT.open(VAULT.new_app_key(), sealed, b"release 1")


def test_another_master_key_is_named_not_just_refused() -> None:
    with pytest.raises(Unavailable, match="sealed with master key [0-9a-f]{8}") as caught:
        Vault(bytes(32)).open(KEY, VAULT.seal(KEY, b"", b""), b"")
    assert "master key" in caught.value.hint


def test_macs_are_the_keys_own() -> None:
    assert VAULT.mac(b"row") == Vault(MASTER).mac(b"row")
    assert VAULT.mac(b"row") != Vault(bytes(32)).mac(b"row")
    assert VAULT.mac(b"row") != VAULT.mac(b"rows")
    assert len(VAULT.mac(b"")) == hashlib.sha256().digest_size


def test_nothing_of_the_key_is_shown() -> None:
    assert MASTER.hex() not in repr(VAULT) + str(vars(VAULT))


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(Broken, match="32 bytes"):
        Vault(bytes(size))


def test_the_key_file_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    sealed_key = load_or_create(path).new_app_key()
    text = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create(path).open(sealed_key, _sealed(path, sealed_key), b"c") == b"x"
    assert path.read_text() == text
    assert os.listdir(tmp_path) == ["master.key"]


def _sealed(path: Path, key: bytes) -> bytes:
    return load_or_create(path).seal(key, b"x", b"c")


def test_two_that_start_at_once_get_the_same_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        macs = list(pool.map(lambda _: load_or_create(tmp_path / "k").mac(b""), range(8)))
    assert len(set(macs)) == 1
    assert os.listdir(tmp_path) == ["k"]


@pytest.mark.parametrize("text", ["", "oriel-master-key-1 zz", "oriel-master-key-1 00", "0" * 64])
def test_a_file_that_holds_no_key_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "master.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(Unavailable, match="does not hold a master key"):
        load_or_create(path)
    assert path.read_text() == text


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "master.key"
    load_or_create(path)
    path.chmod(mode)
    with pytest.raises(Unavailable, match="read by others") as caught:
        load_or_create(path)
    assert caught.value.hint == f"Type: chmod 600 {path}"


def test_a_key_for_reading_only_serves(tmp_path: Path) -> None:
    """As a systemd credential is."""
    path = tmp_path / "master.key"
    load_or_create(path)
    path.chmod(0o400)
    load_or_create(path)
