"""Owns the place where a client meets its process: a TLS port, one secret for each meeting, and
the bytes in between. Transport only: must not know apps, dynos, users or what is talked about.

Read in this order: `line` (the first line; pure), `invitations` (who may come; pure), `marker` (an
exit status in the output; pure), `tls` (one connection), `link` (the two languages that clients
speak), `rendezvous` (the port: the room's shell).
"""

from oriel.rendezvous.link import End, Heard, Input, Link, Resize, Signal
from oriel.rendezvous.rendezvous import Meeting, Rendezvous

__all__ = ["End", "Heard", "Input", "Link", "Meeting", "Rendezvous", "Resize", "Signal"]
