"""Owns accounts, their tokens, invitations and memberships. Must not know apps, acts or HTTP.

In reading order: `accounts`, `passwords`, `tokens`, `invitations`, `memberships`, `setup` (the
one-time token of a new installation), `throttle`, `tables`. No secret is kept but as a hash.
"""

from oriel.people.accounts import Account
from oriel.people.memberships import Member
from oriel.people.throttle import Throttle
from oriel.people.tokens import Token

__all__ = ["Account", "Member", "Throttle", "Token"]
