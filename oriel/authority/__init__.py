"""Owns Oriel's own certificate authority: its key, its certificate, and the server certificates
made from it. Must not know who listens with them, or why.

`authority` is all of it.
"""

from oriel.authority.authority import Authority

__all__ = ["Authority"]
