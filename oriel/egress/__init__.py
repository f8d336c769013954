"""Owns every connection to a place that a user named: drains now, whatever follows later.

A name is resolved once, each address is judged, and what is dialled is the address, never the
name again. Refused are this machine (loopback and its own addresses), what only the link reaches,
and forms that hide another address; an operator may allow networks by name. All of it is bounded
in time, and what is fetched in size. Must not know what is sent, or why.

In reading order: `rules` (which addresses), `oneway` (a connection that only sends), `dial`
(resolve and connect, TCP, TLS, UDP), `http` (one request and its answer on a connection, and
`fetch`, which judges each redirect anew).
"""

from __future__ import annotations

from oriel.egress.dial import Dialer, Line, Untrusted
from oriel.egress.oneway import OneWay
from oriel.egress.rules import Refused, Rules

__all__ = ["Dialer", "Line", "OneWay", "Refused", "Rules", "Untrusted"]
