"""What the own authority signs, as a client that trusts it sees it."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from oriel.authority import Authority
from oriel.clock import SystemClock
from oriel.faults import Unavailable

CLOCK = SystemClock()


def check(authority: Authority, pem: bytes, host: str) -> None:
    """As a client does; raises VerificationError."""
    leaf, *others = x509.load_pem_x509_certificates(pem)
    roots = Store([x509.load_pem_x509_certificate(authority.certificate.encode())])
    builder = PolicyBuilder().store(roots).time(CLOCK.wall())
    builder.build_server_verifier(x509.DNSName(host)).verify(leaf, others[:0])


def test_who_trusts_the_authority_trusts_what_it_signs_and_no_other_host(tmp_path: Path) -> None:
    path = tmp_path / "authority.pem"
    authority = Authority.open(path, CLOCK)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    pem, until = authority.sign(frozenset({"apps.example.com", "*.apps.example.com", "127.0.0.1"}))
    check(authority, pem, "foo.apps.example.com")
    with pytest.raises(VerificationError):
        check(authority, pem, "example.com")
    assert timedelta(days=80) < until - CLOCK.wall() < timedelta(days=100)
    again = Authority.open(path, CLOCK)
    assert again.certificate == authority.certificate
    check(again, authority.sign(frozenset({"x.y"}))[0], "x.y")
    with pytest.raises(VerificationError):
        check(Authority.open(tmp_path / "other.pem", CLOCK), pem, "foo.apps.example.com")


def test_a_damaged_file_is_not_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "authority.pem"
    path.write_text("nonsense")
    with pytest.raises(Unavailable, match="is not the file of an authority"):
        Authority.open(path, CLOCK)
    assert path.read_text() == "nonsense"
