"""Certificates of every kind, made for a test."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM


def key(kind: str = "p256", number: int = 0) -> Any:
    """Always the same for the same words."""
    return _key(kind, number)


@cache
def _key(kind: str, number: int) -> Any:
    if kind == "p256":
        return ec.generate_private_key(ec.SECP256R1())
    if kind == "p384":
        return ec.generate_private_key(ec.SECP384R1())
    if kind == "p521":
        return ec.generate_private_key(ec.SECP521R1())
    return rsa.generate_private_key(65537, int(kind.removeprefix("rsa")))


def key_text(private: Any, password: bytes | None = None) -> str:
    seal = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    form = serialization.PrivateFormat
    return private.private_bytes(
        PEM, form.PKCS8 if password else form.TraditionalOpenSSL, seal
    ).decode()


def certificate(
    now: datetime,
    *names: str,
    mine: Any = None,
    by: tuple[x509.Certificate, Any] | None = None,
    starts: timedelta = timedelta(days=-1),
    ends: timedelta = timedelta(days=90),
    ca: bool = False,
    common: str = "",
    digest: Any = None,
) -> x509.Certificate:
    mine = mine or key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common or (names or ("x",))[0])])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by[0].subject if by else subject)
        .public_key(mine.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + starts)
        .not_valid_after(now + ends)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if names:
        san = x509.SubjectAlternativeName([x509.DNSName(each) for each in names])
        builder = builder.add_extension(san, critical=False)
    return builder.sign(by[1] if by else mine, digest or hashes.SHA256())


def text(*certificates: x509.Certificate) -> str:
    return "".join(each.public_bytes(PEM).decode() for each in certificates)


def pair(now: datetime, *names: str, number: int = 0, **more: Any) -> tuple[str, str]:
    """A certificate and its key, as two files."""
    mine = key("p256", number)
    return text(certificate(now, *names, mine=mine, **more)), key_text(mine)
