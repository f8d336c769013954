"""The platform's own certificates: renewed while it runs, and a bad file spoils nothing."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from oriel import faults
from oriel.authority import Authority
from oriel.clock import SystemClock
from oriel.house import settings, typed
from oriel.house.own_tls import ApiTls, OwnCertificate, api_names, web_names
from oriel.lexicon import Address
from oriel.router import tls
from tests.certificates.making import pair

NOW = SystemClock().wall()
HERE = settings.Settings(
    api=Address("0.0.0.0", 5050), web=Address("127.0.0.1", 8080), database="sqlite:///x"
)


class Later(SystemClock):
    """The machine's clock, some days later."""

    days = 0

    def wall(self) -> datetime:
        return super().wall() + timedelta(days=self.days)


def own(tmp_path: Path, clock: Later) -> OwnCertificate:
    return OwnCertificate(Authority.open(tmp_path / "authority.pem", clock), {"localhost"})


def met(context: ssl.SSLContext) -> str:
    """SHA-1 of the certificate that the next connection meets."""
    client = ssl.create_default_context()
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    near, far = socket.socketpair()

    def serve() -> None:
        with context.wrap_socket(far, server_side=True) as end:
            end.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    with client.wrap_socket(near, server_hostname="localhost") as end:
        der = end.getpeercert(binary_form=True)
        end.send(b"x")
    thread.join()
    assert der
    return tls.print_of(ssl.DER_cert_to_PEM_cert(der))


def test_the_authoritys_certificate_is_renewed_under_the_same_context(tmp_path: Path) -> None:
    clock = Later()
    certificate = own(tmp_path, clock)
    first = certificate.pem()
    api = ApiTls(HERE, certificate)
    assert met(api.context) == tls.print_of(first)
    assert not api.renew()
    clock.days = 59
    assert certificate.pem() == first
    clock.days = 61
    assert api.renew()
    assert certificate.pem() != first
    assert met(api.context) == tls.print_of(certificate.pem())


def test_files_are_read_again_when_they_change_and_kept_when_they_are_bad(tmp_path: Path) -> None:
    cert, key = tmp_path / "c.pem", tmp_path / "k.pem"

    def write(number: int, *, key_of: int | None = None) -> str:
        chain, private = pair(NOW, "localhost", number=number)
        cert.write_text(chain)
        key.write_text(pair(NOW, "x", number=number if key_of is None else key_of)[1])
        later = (NOW.timestamp() + write.turn) * 1e9  # type: ignore[attr-defined]
        write.turn += 1  # type: ignore[attr-defined]
        for path in (cert, key):
            os.utime(path, ns=(int(later), int(later)))
        return tls.print_of(chain)

    write.turn = 1  # type: ignore[attr-defined]
    first = write(0)
    chosen = settings.settle(settings.Flags(tls_cert=str(cert), tls_key=str(key)), HERE, tmp_path)
    api = ApiTls(chosen, own(tmp_path, Later()))
    assert met(api.context) == first
    write(1, key_of=2)
    assert not api.renew()
    assert met(api.context) == first
    cert.write_text("nonsense")
    assert not api.renew()
    second = write(3)
    assert api.renew()
    assert met(api.context) == second


def test_the_settings_of_tls(tmp_path: Path) -> None:
    flags = settings.Flags(tls="authority", web_tls="0.0.0.0:443", acme_directory="https://a.b/dir")
    settled = settings.settle(flags, HERE, tmp_path)
    assert settled.has_tls
    assert settled.api_url == "https://127.0.0.1:5050"
    assert settings.Settings.from_json(settled.to_json()) == settled
    again = settings.settle(settings.Flags(web_tls="", acme_directory=""), settled, tmp_path)
    assert (again.web_tls, again.acme_directory) == (None, typed.DEFAULT_ACME)
    for wrong in ("http://a.b/dir", "https://", "ftp://x", "https://a b/", "https://a/\n"):
        with pytest.raises(faults.Invalid, match="--acme-directory"):
            settings.settle(settings.Flags(acme_directory=wrong), settled, tmp_path)
    with pytest.raises(faults.Invalid, match="without TLS"):
        settings.settle(settings.Flags(tls="off"), settled, tmp_path)
    assert {"localhost", "127.0.0.1"} <= api_names(settled)
    assert web_names(settled) == {"localhost", "*.localhost"}
