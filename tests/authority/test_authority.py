"""The authority: kept, private, trusted by who has its certificate, and renewed in time."""

from __future__ import annotations

import asyncio
import ssl
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from oriel.authority import Authority
from oriel.authority.authority import RENEWED_BEFORE, SERVER_LIVES
from oriel.clock import SystemClock
from oriel.faults import Unavailable
from tests.fakes.clock import SteppedClock

NAMES = ("localhost", "127.0.0.1", "::1", "oriel.example.com")


async def _nothing() -> None:
    return


def shakes(server: ssl.SSLContext, trusted: str, name: str) -> str:
    """Both sides of a handshake in memory; why it failed, or nothing."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(cadata=trusted)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(back, there, server_hostname=name),
        server.wrap_bio(there, back, server_side=True),
    ]
    for _ in range(10):
        for side in list(sides):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                return str(error.reason)
            sides.remove(side)
        if not sides:
            return ""
    raise AssertionError("no end")


@pytest.mark.parametrize("name", NAMES)
def test_who_trusts_it_trusts_its_servers(tmp_path: Path, name: str) -> None:
    authority = Authority.open(tmp_path / "authority.pem", SystemClock())
    context = authority.server(NAMES).context()
    assert shakes(context, authority.certificate, name) == ""
    other = Authority.open(tmp_path / "other.pem", SystemClock())
    assert "VERIFY_FAILED" in shakes(context, other.certificate, name)
    assert "VERIFY_FAILED" in shakes(context, authority.certificate, "other.example.com")


def test_it_is_kept_and_private(tmp_path: Path) -> None:
    path = tmp_path / "authority.pem"
    first = Authority.open(path, SystemClock()).certificate
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Authority.open(path, SystemClock()).certificate == first
    assert "PRIVATE" not in first
    assert [each.name for each in tmp_path.iterdir()] == ["authority.pem"]


def test_a_half_written_draft_of_a_kill_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "authority.pem.new").write_text("-----BEGIN")
    assert Authority.open(tmp_path / "authority.pem", SystemClock()).certificate


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\n"])
def test_a_damaged_file_is_not_replaced_in_silence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "authority.pem"
    path.write_bytes(content)
    with pytest.raises(Unavailable, match=r"authority\.pem is not"):
        Authority.open(path, SystemClock())
    assert path.read_bytes() == content


def test_a_server_certificate_is_renewed_before_it_ends(tmp_path: Path) -> None:
    async def story() -> None:
        clock = SteppedClock()
        authority = Authority.open(tmp_path / "authority.pem", clock)
        server = authority.server(NAMES)
        first = server.context()
        assert server.context() is first
        await clock.advance(
            (SERVER_LIVES - RENEWED_BEFORE - timedelta(hours=1)).total_seconds(), _nothing
        )
        assert server.context() is first
        await clock.advance(7200, _nothing)
        assert server.context() is not first

    asyncio.run(story())


def test_what_the_certificates_allow(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path / "authority.pem", SystemClock())
    own = x509.load_pem_x509_certificate(authority.certificate.encode())
    assert own.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    chain, _ = authority.sign(frozenset(NAMES))
    leaf = x509.load_pem_x509_certificates(chain)[0]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
