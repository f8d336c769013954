"""Owns TLS at the web's edge: what HAProxy is configured with, the files of certificates, and the
commands that bring a running HAProxy to other certificates. Pure; must not know sockets or X.509.

A file's name is a digest of its content and of the hosts it is shown to, so that nothing is ever
changed in place: a new certificate is there before the old one goes, and no handshake meets none.
Whoever uploads a certificate cannot have it shown for a host that is not theirs: hosts are given
by the route table, never taken from the certificate.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from oriel.router.table import Certificate, RouteTable

GLOBAL = (
    # Mozilla's "intermediate" guideline 5.7.
    "  ssl-default-bind-ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:"
    "ECDHE-RSA-CHACHA20-POLY1305:DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:"
    "DHE-RSA-CHACHA20-POLY1305",
    "  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
    "TLS_CHACHA20_POLY1305_SHA256",
    "  ssl-default-bind-curves X25519:prime256v1:secp384r1",
    "  ssl-default-bind-options prefer-client-ciphers ssl-min-ver TLSv1.2 no-tls-tickets",
    "  tune.ssl.default-dh-param 2048",
)

KNOWN = (
    "  tcp-request session set-var(sess.secure) ssl_fc",
    # Once for each connection, and not for each request; its handshake is done by then.
    "  tcp-request session set-var-fmt(sess.tls)"
    " ' tls_version=%[ssl_fc_protocol,regsub(^TLSv,tls)]' if { ssl_fc }",
)

LIST = "certs"
_NAMED = re.compile(r"(?:cert|fallback)\.[0-9a-f]{16}\.pem")
_LISTED = re.compile(r"(/\S*/certs\.[0-9a-f]{16}\.list)")
_PRINT = re.compile(r"^SHA1 FingerPrint: ([0-9A-F]{40})\s*$", re.MULTILINE)
_FIRST = re.compile(r"-----BEGIN CERTIFICATE-----\n(.*?)-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SeenTls:
    """What of TLS a running HAProxy has loaded. Names are of files, `list` is a whole path."""

    list: str = ""
    entries: frozenset[str] = frozenset()
    stores: frozenset[str] = frozenset()
    pending: str = ""
    """The certificate that a transaction was begun for and never ended."""
    fallback_print: str = ""
    """SHA-1 of the certificate behind the fallback's name."""


@dataclass(frozen=True, slots=True)
class Files:
    """What HAProxy starts from."""

    contents: Mapping[str, str] = field(repr=False)
    list: str
    fallback: str


def files(table: RouteTable, directory: Path) -> Files:
    """The certificates' files and the list of them; a table for TLS has a fallback."""
    if table.fallback is None:
        raise ValueError("TLS without a certificate to fall back on")
    fallback = f"fallback.{_digest(table.fallback.pem)}.pem"
    named = {_name(each): each for each in table.certificates if each.hosts}
    lines = [f"{directory / name} {' '.join(each.hosts)}\n" for name, each in sorted(named.items())]
    if table.fallback.hosts:
        lines.insert(0, f"{directory / fallback} {' '.join(table.fallback.hosts)}\n")
    text = "".join(lines)
    list_ = f"{LIST}.{_digest(text)}.list"
    contents = {name: each.pem for name, each in named.items()}
    return Files({**contents, fallback: table.fallback.pem, list_: text}, list_, fallback)


def bind(address: str, fallback: Path, list_: Path) -> str:
    """A line that listens with TLS; HTTP/2 where the client can."""
    return f"  bind {address} ssl crt {fallback} crt-list {list_} alpn h2,http/1.1"


def commands(
    table: RouteTable, seen: SeenTls, directory: Path
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What to say so that HAProxy has the table's certificates: what comes, then what goes."""
    if not seen.list or table.fallback is None:
        return (), ()
    wanted = {_name(each): each for each in table.certificates if each.hosts}
    come: list[str] = []
    if seen.pending:
        come.append(f"abort ssl cert {directory / seen.pending}")
    for loaded in sorted(seen.stores):
        if loaded.startswith("fallback.") and seen.fallback_print != print_of(table.fallback.pem):
            come += _content(str(directory / loaded), table.fallback.pem)
    for name, certificate in sorted(wanted.items()):
        if name in seen.entries:
            continue
        path = str(directory / name)
        if name not in seen.stores:
            come.append(f"new ssl cert {path}")
        come += _content(path, certificate.pem)
        line = f"{path} {' '.join(certificate.hosts)}"
        come.append(f"add ssl crt-list {seen.list} <<\n{line}\n")
    return tuple(come), tuple(_leaving(seen, wanted, directory))


def _leaving(seen: SeenTls, wanted: Mapping[str, Certificate], directory: Path) -> list[str]:
    go: list[str] = []
    for name in sorted((seen.entries | seen.stores) - set(wanted)):
        if name.startswith("fallback."):
            continue
        if name in seen.entries:
            go.append(f"del ssl crt-list {seen.list} {directory / name}")
        go.append(f"del ssl cert {directory / name}")
    return go


def read_list(text: str) -> str:
    """From `show ssl crt-list`: the path of ours."""
    found = _LISTED.search(text)
    return found[1] if found else ""


def read_entries(text: str) -> frozenset[str]:
    """From `show ssl crt-list PATH`: the files in it."""
    return frozenset(_names(line for line in text.splitlines() if line.startswith("/")))


def read_stores(text: str) -> tuple[frozenset[str], str]:
    """From `show ssl cert`: the files that are loaded, and the one of an open transaction."""
    lines = text.splitlines()
    pending = _names(line for line in lines if line.startswith("*"))
    return frozenset(_names(line for line in lines if line.startswith("/"))), next(
        iter(pending), ""
    )


def read_print(text: str) -> str:
    """From `show ssl cert PATH`: which certificate it is."""
    found = _PRINT.search(text)
    return found[1] if found else ""


def print_of(pem: str) -> str:
    """SHA-1 of the first certificate of a PEM, as HAProxy shows it."""
    found = _FIRST.search(pem)
    der = base64.b64decode(found[1]) if found else b""
    return hashlib.sha1(der, usedforsecurity=False).hexdigest().upper()


def _names(lines: Iterable[str]) -> list[str]:
    return [found[0] for line in lines if (found := _NAMED.search(line.split(" ", 1)[0]))]


def _content(path: str, pem: str) -> list[str]:
    return [f"set ssl cert {path} <<\n{pem}", f"commit ssl cert {path}"]


def _name(certificate: Certificate) -> str:
    return f"cert.{_digest(certificate.pem, *certificate.hosts)}.pem"


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
