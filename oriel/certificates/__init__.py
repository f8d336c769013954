"""Owns certificates as values, and how one is got from an authority by ACME (RFC 8555, HTTP-01).

Must not know apps, domains as rows, SQL, or who serves with a certificate.

`chain` reads what people upload, `machine` decides what an order does next (pure), `issuer` talks
to the authority.
"""

from oriel.certificates.chain import Chain, read
from oriel.certificates.issuer import Issuer

__all__ = ["Chain", "Issuer", "read"]
