"""Owns one file, `authority.pem` (0600): the authority's private key and its certificate.

Server certificates are made from it when they are needed, kept in memory alone, and made anew
before they run out: whoever holds the authority's certificate trusts the next one too. The
authority signs for names that its owner gives it, and its certificate says that it may sign
servers and nothing below it.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from oriel.clock import Clock
from oriel.faults import Unavailable

AUTHORITY_LIVES = timedelta(days=20 * 365)
SERVER_LIVES = timedelta(days=90)
RENEWED_BEFORE = timedelta(days=30)
"""How long before its end a server certificate is replaced."""

SKEW = timedelta(days=1)
"""A client's clock may be behind."""

_NOT_A_KEY = "is not the file of an authority"


class Authority:
    """A key and a certificate that can make others."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, own: x509.Certificate, clock: Clock):
        """From what `open` found."""
        self._key = key
        self._own = own
        self._clock = clock

    @classmethod
    def open(cls, path: Path, clock: Clock) -> Authority:
        """The authority kept at `path`, made there the first time. Raises Unavailable."""
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return cls._make(path, clock)
        except OSError as error:
            raise Unavailable(f"{path} cannot be read: {error.strerror}.") from error
        try:
            key = serialization.load_pem_private_key(text, None)
            own = x509.load_pem_x509_certificate(text)
        except ValueError as error:
            raise _unusable(path) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise _unusable(path)
        return cls(key, own, clock)

    @classmethod
    def _make(cls, path: Path, clock: Clock) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _named(f"Oriel authority {os.urandom(4).hex()}")
        now = clock.wall()
        own = (
            _begun(name, name, key.public_key(), now, now + AUTHORITY_LIVES)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        _keep(path, _private(key) + _public(own))
        return cls(key, own, clock)

    @property
    def certificate(self) -> str:
        """Its own certificate, PEM: what clients have to trust."""
        return _public(self._own).decode()

    def server(self, names: Iterable[str]) -> Server:
        """A server's side of TLS, for these host names and addresses."""
        return Server(self, frozenset(names))

    def sign(self, names: frozenset[str]) -> tuple[bytes, datetime]:
        """A new key with its certificate and the authority's (PEM), and when it ends."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = self._clock.wall()
        until = min(now + SERVER_LIVES, self._own.not_valid_after_utc)
        subject = x509.SubjectAlternativeName([_general(each) for each in sorted(names)])
        signed = (
            _begun(_named("Oriel"), self._own.subject, key.public_key(), now, until)
            .add_extension(subject, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        return _private(key) + _public(signed) + _public(self._own), until

    def now(self) -> datetime:
        """The time by which certificates end."""
        return self._clock.wall()


class Server:
    """One server's TLS context, whose certificate is never older than it should be."""

    def __init__(self, authority: Authority, names: frozenset[str]) -> None:
        """Nothing is made until it is needed."""
        self._authority = authority
        self._names = names
        self._context: ssl.SSLContext | None = None
        self._renew_at: datetime | None = None

    def context(self) -> ssl.SSLContext:
        """The context for the next connection, with a new certificate where it is time."""
        if self._context is None or self._renew_at is None:
            return self._make()
        return self._make() if self._authority.now() >= self._renew_at else self._context

    def _make(self) -> ssl.SSLContext:
        chain, until = self._authority.sign(self._names)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Python takes a chain from a file only: this one is in memory, and nobody else's.
        descriptor = os.memfd_create("oriel-certificate", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, chain)
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
        self._context, self._renew_at = context, until - RENEWED_BEFORE
        return context


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    until: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _public(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _keep(path: Path, content: bytes) -> None:
    """Write it whole or not at all, readable by its owner alone from the first moment."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def _unusable(path: Path) -> Unavailable:
    return Unavailable(
        f"{path} {_NOT_A_KEY}.",
        hint="Move it away and a new one is made; who trusts the old one has to be told the new.",
    )
