"""Owns drains: an app's channel, sent on to where its owner wants it, at least once and in order.

A drain is a cursor kept on disk. What a receiver cannot take now waits here, for as long as the
channel keeps it; only retention makes loss, and it is counted and told. Must not know apps, HTTP
doors, or segments: it reads through the cursor, and connects through `egress`.

In reading order: `address` (a drain's URL), `wording` (lines on the wire, as Heroku has them),
`machine` (when to send, wait, pause; pure), `place` (what is on disk), `reader` (lines into
batches), `outlet`, `stream`, `post`, `outlets` (syslog over TCP and TLS; HTTP; UDP), `window` (what
a syslog receiver may have or not), `notices` (what the channel is told), `drain` (one drain at
work), `measure` (how far it is behind), `roster` (all of them, and their operations).
"""
