"""Owns the master key and all that is sealed or signed with it. Must not know rows or SQL.

Two layers: each app has a data key of its own, which the database keeps wrapped by the master key;
config is sealed with the data key. What is sealed names its context, so that it cannot be moved
to another row. Every sealed form begins with a version byte.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from oriel.clock import new_id, new_key
from oriel.faults import Broken, Unavailable

KEY_BYTES = 32
_FORMAT = b"\x01"
_NONCE_BYTES = 12
_KEY_ID_BYTES = 4
_FILE_HEAD = "oriel-master-key-1 "


class Vault:
    """Seals and signs with one master key."""

    def __init__(self, master_key: bytes) -> None:
        """`master_key` is 32 bytes that nobody else has."""
        if len(master_key) != KEY_BYTES:
            raise Broken(f"A master key has {KEY_BYTES} bytes, this one {len(master_key)}.")
        self._wrapping = AESGCM(_derive(master_key, b"oriel wrap 1"))
        self._signing = _derive(master_key, b"oriel mac 1")
        self._key_id = _derive(master_key, b"oriel key id 1")[:_KEY_ID_BYTES]

    def new_app_key(self) -> bytes:
        """A fresh data key for an app, wrapped: this is what its row keeps."""
        return _FORMAT + self._key_id + _encrypt(self._wrapping, new_key(KEY_BYTES), b"app key")

    def seal(self, wrapped: bytes, plaintext: bytes, context: bytes) -> bytes:
        """Seal `plaintext` with the app's data key, for this context only."""
        return _FORMAT + _encrypt(self._unwrap(wrapped), plaintext, context)

    def open(self, wrapped: bytes, sealed: bytes, context: bytes) -> bytes:
        """What was sealed; raises Broken when it was changed or moved."""
        if sealed[:1] != _FORMAT:
            raise Broken("A sealed value has a form that this Oriel does not know.")
        return _decrypt(self._unwrap(wrapped), sealed[1:], context)

    def mac(self, data: bytes) -> bytes:
        """HMAC-SHA256 of `data`; only the holder of the master key can make it."""
        return hmac.digest(self._signing, data, hashlib.sha256)

    def _unwrap(self, wrapped: bytes) -> AESGCM:
        if wrapped[:1] != _FORMAT:
            raise Broken("An app's key has a form that this Oriel does not know.")
        key_id = wrapped[1 : 1 + _KEY_ID_BYTES]
        if key_id != self._key_id:
            raise Unavailable(
                f"The app's key was sealed with master key {key_id.hex()}, "
                f"and the one in use is {self._key_id.hex()}.",
                hint="Start Oriel with the master key that belongs to this database.",
            )
        return AESGCM(_decrypt(self._wrapping, wrapped[1 + _KEY_ID_BYTES :], b"app key"))


def load_or_create(path: Path) -> Vault:
    """The vault of the key file at `path`; a new key when there is none.

    The file appears whole or not at all, and an existing one is never written.
    """
    try:
        return _load(path)
    except FileNotFoundError:
        _create(path)
        return _load(path)


def _load(path: Path) -> Vault:
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode & 0o777
        text = file.read(1000).decode("ascii", "replace").strip()
    if mode & 0o077:
        raise Unavailable(
            f"The master key {path} can be read by others (mode {mode:o}).",
            hint=f"Type: chmod 600 {path}",
        )
    try:
        key = bytes.fromhex(text.removeprefix(_FILE_HEAD))
    except ValueError:
        key = b""
    if not text.startswith(_FILE_HEAD) or len(key) != KEY_BYTES:
        raise Unavailable(
            f"The file {path} does not hold a master key.",
            hint="Put back the key file that belongs to this database.",
        )
    return Vault(key)


def _create(path: Path) -> None:
    draft = path.with_name(f".{path.name}.{new_id()}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(f"{_FILE_HEAD}{new_key(KEY_BYTES).hex()}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # unlike a rename, never over another's key
        except FileExistsError:
            return
    finally:
        draft.unlink()
    # A database must not outlive a power cut that its key did not.
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _derive(master_key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(master_key)


def _encrypt(cipher: AESGCM, plaintext: bytes, context: bytes) -> bytes:
    nonce = new_key(_NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, plaintext, context)


def _decrypt(cipher: AESGCM, sealed: bytes, context: bytes) -> bytes:
    try:
        return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context)
    except (InvalidTag, ValueError):
        raise Broken("A sealed value cannot be opened: it was changed or moved.") from None
