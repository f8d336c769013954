"""Owns the operations on channels, tokens and credentials that logplex's door has.

Must not know the socket; each takes a request and gives an answer, and may be repeated.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from oriel import faults
from oriel.logplex.channel import check_name
from oriel.logplex.shelf import Shelf
from oriel.logplex.tokens import Token, Tokens

Operation = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class Desk:
    """Where tokens are given out."""

    def __init__(self, shelf: Shelf, tokens: Tokens) -> None:
        self._shelf = shelf
        self._tokens = tokens
        self.operations: dict[str, Operation] = {
            "channel-create": self._channel_create,
            "channels": self._channels,
            "token-create": self._token_create,
            "token-revoke": self._token_revoke,
            "tokens": self._list_tokens,
            "credential-create": self._credential_create,
            "credential-revoke": self._credential_revoke,
            "credentials": self._list_credentials,
        }

    def forget(self, channel: str) -> None:
        """A channel is removed: nobody may write into it any more."""
        self._tokens.forget(channel)

    async def _channel_create(self, request: dict[str, Any]) -> dict[str, Any]:
        name = check_name(request.get("channel"))
        made = not self._shelf.knows(name)
        self._shelf.channel(name)
        return {"created": made}

    async def _channels(self, _: dict[str, Any]) -> dict[str, Any]:
        return {
            "channels": [
                {"name": each, "tokens": len(self._tokens.of(each))}
                for each in sorted(self._shelf.names())
            ]
        }

    async def _token_create(self, request: dict[str, Any]) -> dict[str, Any]:
        self._known(request.get("channel"))
        made = self._tokens.create(
            request.get("channel"), request.get("name"), request.get("token")
        )
        return {"token": _shown(made)}

    async def _token_revoke(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"revoked": self._tokens.revoke(request.get("token"))}

    async def _list_tokens(self, request: dict[str, Any]) -> dict[str, Any]:
        channel = request.get("channel")
        wanted = None if channel is None else self._known(channel)
        return {"tokens": [_shown(each) for each in self._tokens.of(wanted)]}

    async def _credential_create(self, request: dict[str, Any]) -> dict[str, Any]:
        made, password = self._tokens.create_credential(bool(request.get("any_channel")))
        return {"id": made.id, "password": password, "any_channel": made.any_channel}

    async def _credential_revoke(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"revoked": self._tokens.revoke_credential(request.get("id"))}

    async def _list_credentials(self, _: dict[str, Any]) -> dict[str, Any]:
        return {
            "credentials": [
                {"id": each.id, "any_channel": each.any_channel}
                for each in self._tokens.credentials()
            ]
        }

    def _known(self, channel: object) -> str:
        name = check_name(channel)
        if not self._shelf.knows(name):
            raise faults.NotFound(
                f"There is no log channel {name}.",
                hint="oriel logplex:channels lists them.",
                resource="channel",
            )
        return name


def _shown(token: Token) -> dict[str, str]:
    return {"id": token.id, "channel": token.channel, "name": token.name}
