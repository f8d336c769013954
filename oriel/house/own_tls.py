"""Owns the certificates that the platform itself is met with: by its own authority, or of files.

Renewed while it runs: who is connected already is not disturbed, and whoever comes next meets the
new one. Must not know who listens.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Iterable
from datetime import datetime

from oriel.authority import Authority
from oriel.authority.authority import RENEWED_BEFORE
from oriel.clock import Clock
from oriel.house.settings import Settings

LOOK_PAUSE_S = 60.0
"""How often files are looked at for a new content."""

_log = logging.getLogger("oriel.house.tls")


class OwnCertificate:
    """A certificate by the own authority, never older than it should be."""

    def __init__(self, authority: Authority, names: Iterable[str]) -> None:
        """Nothing is made until it is needed."""
        self._authority = authority
        self._names = frozenset(names)
        self._pem = ""
        self._renew_at: datetime | None = None

    def pem(self) -> str:
        """Key and certificate (PEM); another one when it was time."""
        if self._renew_at is None or self._authority.now() >= self._renew_at:
            pem, until = self._authority.sign(self._names)
            self._pem, self._renew_at = pem.decode(), until - RENEWED_BEFORE
        return self._pem


class ApiTls:
    """The API's side of TLS: one context, whose certificate changes under it."""

    def __init__(self, settings: Settings, own: OwnCertificate) -> None:
        """Loads it; raises OSError or ssl.SSLError for files that cannot be used."""
        self._files = (settings.tls_cert, settings.tls_key) if settings.tls_cert else None
        self._own = own
        self._loaded: object = None
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._load(self._now())

    def renew(self) -> bool:
        """Load what is new, if anything; what cannot be used leaves the old one in place."""
        try:
            now = self._now()
            if now == self._loaded:
                return False
            self._load(now)
        except (OSError, ssl.SSLError) as error:
            _log.warning("the API's certificate stays as it is: %s", error)
            return False
        return True

    async def keep(self, clock: Clock) -> None:
        """The same from time to time, for as long as the API lives."""
        while True:
            await clock.sleep(LOOK_PAUSE_S)
            if self.renew():
                _log.info("the API's certificate was renewed")

    def _now(self) -> object:
        """What there is to load: tells whether it is another than before."""
        if self._files is None:
            return self._own.pem()
        return tuple((name, os.stat(str(name)).st_mtime_ns) for name in self._files)

    def _load(self, now: object) -> None:
        if self._files is not None:
            cert, key = map(str, self._files)
            # In a context of its own first: a key that does not fit must not spoil the one in use.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
            self.context.load_cert_chain(cert, key)
        else:
            # Python takes a chain from a file only: this one is in memory, and nobody else's.
            descriptor = os.memfd_create("oriel-certificate", os.MFD_CLOEXEC)
            try:
                os.write(descriptor, str(now).encode())
                self.context.load_cert_chain(f"/proc/self/fd/{descriptor}")
            finally:
                os.close(descriptor)
        self._loaded = now


def api_names(settings: Settings) -> set[str]:
    """Every name that the API is known by."""
    names = {"localhost", "127.0.0.1", "::1"}
    if not settings.api.is_wildcard:
        names.add(settings.api.host)
    if settings.domain:
        names |= {settings.domain, f"api.{settings.domain}", f"oriel.{settings.domain}"}
    return names


def web_names(settings: Settings) -> set[str]:
    """The hosts of apps that have no domain of their own."""
    domain = settings.domain or "localhost"
    return {domain, f"*.{domain}", "localhost", "*.localhost"}
