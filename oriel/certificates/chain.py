"""Owns what a certificate file says: whether it can serve, whom for, until when. Pure.

Every refusal says what is wrong with which file. No part of a key is ever in a message.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtensionOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from oriel.faults import Invalid

BYTES_MAX = 24_000
"""Key and chain together: they go through HAProxy's buffer of 32 kB whole."""

CERTIFICATES_MAX = 10
NAMES_MAX = 100
RSA_BITS = (2048, 8192)
SOON = timedelta(days=30)

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----\s.*?-----END \1-----", re.DOTALL | re.ASCII)


@dataclass(frozen=True, slots=True)
class Chain:
    """A certificate that can serve, with what leads from it to its authority, and its key."""

    chain: str
    """PEM, the server's own certificate first."""
    key: str = field(repr=False)
    """PEM, PKCS#8."""
    names: tuple[str, ...]
    """The host names that it is good for, in its order; a wildcard stands for one label."""
    issuer: str
    subject: str
    starts_at: datetime
    ends_at: datetime
    warnings: tuple[str, ...]


def read(chain: str, key: str, now: datetime) -> Chain:
    """What two uploaded texts come to; raises Invalid with a sentence for what cannot serve."""
    private = _key(key)
    found = _certificates(chain)
    mine = private.public_key()
    leaf = next((each for each in found if _same_key(each, mine)), None)
    if leaf is None:
        raise Invalid(
            "The private key does not belong to the certificate.",
            hint="Give the key that the certificate was asked for with.",
        )
    _check_leaf(leaf, now)
    ordered = _ordered(leaf, found)
    pem = "".join(_pem(each) for each in ordered)
    key_pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    if len(pem) + len(key_pem) > BYTES_MAX:
        raise Invalid(f"Certificate, chain and key are larger than {BYTES_MAX:,} bytes together.")
    return Chain(
        chain=pem,
        key=key_pem,
        names=names_of(leaf),
        issuer=_name(leaf.issuer),
        subject=_name(leaf.subject),
        starts_at=leaf.not_valid_before_utc,
        ends_at=leaf.not_valid_after_utc,
        warnings=tuple(_warnings(leaf, found, ordered, now)),
    )


def names_of(leaf: x509.Certificate) -> tuple[str, ...]:
    """The DNS names of a certificate, lower case; its common name where it has no others."""
    try:
        extension = leaf.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
        value = extension.value
        assert isinstance(value, x509.SubjectAlternativeName)  # noqa: S101 - by its number
        names = value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        common = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        names = [str(each.value) for each in common]
    except (ValueError, x509.DuplicateExtension):
        raise Invalid("The certificate's names cannot be read.") from None
    if len(names) > NAMES_MAX:
        raise Invalid(f"The certificate has {len(names)} names; {NAMES_MAX} are allowed.")
    printable = [name.lower() for name in names if name.isascii() and name.isprintable()]
    return tuple(dict.fromkeys(printable))


@lru_cache(maxsize=1024)
def is_trusted(chain: str, name: str, day: datetime) -> bool:
    """Whether the usual authorities vouch for a chain (PEM) on that day, for one of its names."""
    leaf, *others = x509.load_pem_x509_certificates(chain.encode())
    try:
        builder = PolicyBuilder().store(_roots()).time(day)
        builder.build_server_verifier(x509.DNSName(name.replace("*", "any", 1))).verify(
            leaf, others
        )
    except (VerificationError, ValueError, OSError):
        return False
    return True


@lru_cache(maxsize=1)
def _roots() -> Store:
    import certifi

    with open(certifi.where(), encoding="ascii") as file:
        blocks = [found[0].encode() for found in _BLOCK.finditer(file.read())]
    with warnings.catch_warnings():
        # Some old roots are not made as they would be today.
        warnings.simplefilter("ignore")
        return Store([x509.load_pem_x509_certificate(each) for each in blocks])


def _key(text: str) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    """The private key, of a kind that every browser takes."""
    if not text.isascii() or len(text) > 4 * BYTES_MAX:
        raise Invalid("The private key is not a PEM file.")
    blocks = [found[0] for found in _BLOCK.finditer(text) if "PRIVATE KEY" in found[1]]
    if len(blocks) != 1:
        raise Invalid(
            f"The key file has {len(blocks) or 'no'} private key{'s' if len(blocks) > 1 else ''} "
            "in PEM form (-----BEGIN PRIVATE KEY-----), and has to have one.",
            hint="Type: oriel certs:add CERT.crt KEY.key",
        )
    try:
        private = serialization.load_pem_private_key(blocks[0].encode(), None)
    except TypeError:
        raise Invalid(
            "The private key is encrypted, and Oriel cannot ask for its passphrase at each start.",
            hint="Decrypt it: openssl pkey -in KEY.key -out PLAIN.key. It is sealed where it is "
            "kept.",
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise Invalid("The private key cannot be read: it is damaged, or no PEM file.") from None
    if isinstance(private, rsa.RSAPrivateKey):
        if not RSA_BITS[0] <= private.key_size <= RSA_BITS[1]:
            raise Invalid(
                f"The private key has {private.key_size} bits; RSA keys need "
                f"{RSA_BITS[0]} to {RSA_BITS[1]}."
            )
        return private
    curves = (ec.SECP256R1, ec.SECP384R1)
    if isinstance(private, ec.EllipticCurvePrivateKey) and isinstance(private.curve, curves):
        return private
    raise Invalid(
        "The private key is of a kind that browsers do not take.",
        hint="Use RSA with 2048 bits or more, or ECDSA on P-256 or P-384.",
    )


def _certificates(text: str) -> list[x509.Certificate]:
    if not text.isascii() or len(text) > 4 * BYTES_MAX:
        raise Invalid("The certificate is not a PEM file.")
    blocks = [found[0] for found in _BLOCK.finditer(text) if found[1] == "CERTIFICATE"]
    if not blocks:
        raise Invalid(
            "There is no certificate in PEM form (-----BEGIN CERTIFICATE-----) in the file.",
            hint="Type: oriel certs:add CERT.crt KEY.key",
        )
    if len(blocks) > CERTIFICATES_MAX:
        raise Invalid(f"The file has more than {CERTIFICATES_MAX} certificates.")
    try:
        return [x509.load_pem_x509_certificate(each.encode()) for each in blocks]
    except (ValueError, UnsupportedAlgorithm):
        raise Invalid("The certificate cannot be read: it is damaged, or no PEM file.") from None


def _same_key(certificate: x509.Certificate, mine: object) -> bool:
    try:
        return certificate.public_key() == mine
    except (ValueError, UnsupportedAlgorithm):
        return False


def _check_leaf(leaf: x509.Certificate, now: datetime) -> None:
    if leaf.not_valid_after_utc <= now:
        raise Invalid(f"The certificate expired on {leaf.not_valid_after_utc:%Y-%m-%d}.")
    try:
        algorithm = leaf.signature_hash_algorithm
    except UnsupportedAlgorithm:
        algorithm = None
    if algorithm is not None and algorithm.name in ("md5", "sha1"):
        raise Invalid(f"The certificate is signed with {algorithm.name}, which nobody trusts.")


def _ordered(leaf: x509.Certificate, found: list[x509.Certificate]) -> list[x509.Certificate]:
    """From the server's own upwards, as far as the file goes; a root is left out."""
    chain, rest = [leaf], [each for each in found if each != leaf]
    while True:
        above = next((each for each in rest if _issued(chain[-1], each)), None)
        if above is None or (above.issuer == above.subject):
            return chain
        chain.append(above)
        rest.remove(above)


def _issued(below: x509.Certificate, above: x509.Certificate) -> bool:
    try:
        below.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _warnings(
    leaf: x509.Certificate,
    found: list[x509.Certificate],
    ordered: list[x509.Certificate],
    now: datetime,
) -> list[str]:
    said = []
    if leaf.not_valid_before_utc > now:
        said.append(f"It is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC.")
    if leaf.not_valid_after_utc - now < SOON:
        said.append(f"It ends on {leaf.not_valid_after_utc:%Y-%m-%d}.")
    strangers = [each for each in found if each not in ordered and each.issuer != each.subject]
    if strangers:
        said.append(f"{len(strangers)} of the file's certificates are not of its chain.")
    if leaf.issuer != leaf.subject and len(ordered) == 1 and len(found) == 1:
        said.append("It comes without the chain to its authority; most clients need that.")
    return said


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _name(name: x509.Name) -> str:
    """As Heroku shows it: `/C=US/O=Example/CN=www.example.com`."""
    short = {NameOID.COMMON_NAME: "CN", NameOID.ORGANIZATION_NAME: "O", NameOID.COUNTRY_NAME: "C"}
    parts = [f"/{short.get(each.oid, each.rfc4514_attribute_name)}={each.value!s}" for each in name]
    text = "".join(parts)
    return "".join(each if each.isprintable() else "?" for each in text)[:500]
