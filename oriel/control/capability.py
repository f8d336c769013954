"""Owns URLs that are their own permission: what one is for, until when, and that we made it.

Nothing is kept: the text carries its claims and a 256-bit MAC over them, so that it survives a
restart of control. Must not know what is read with it.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from oriel import faults
from oriel.ledger import Vault

_TEXT_MAX = 4096


def issue(
    vault: Vault, purpose: str, claims: Mapping[str, Any], now: datetime, lives: timedelta
) -> str:
    """A text, safe in a URL's path, that `redeem` takes back until `now + lives`."""
    until = int((now + lives).timestamp())
    body = json.dumps({"for": purpose, "until": until, **claims}, separators=(",", ":"))
    payload = body.encode()
    return f"{_text(payload)}.{_text(vault.mac(_signed(payload)))}"


def redeem(vault: Vault, purpose: str, text: str, now: datetime) -> dict[str, Any]:
    """The claims of a capability for `purpose`; NotFound when forged, expired or another's."""
    gone = faults.NotFound("That URL is not valid, or no longer.", resource="capability")
    payload_text, _, mac_text = text.partition(".")
    if len(text) > _TEXT_MAX:
        raise gone
    try:
        payload, mac = _bytes(payload_text), _bytes(mac_text)
    except ValueError:
        raise gone from None
    if not hmac.compare_digest(mac, vault.mac(_signed(payload))):
        raise gone
    claims: dict[str, Any] = json.loads(payload)
    if claims.get("for") != purpose or claims["until"] < now.timestamp():
        raise gone
    return claims


def _signed(payload: bytes) -> bytes:
    return b"capability\0" + payload


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True)
