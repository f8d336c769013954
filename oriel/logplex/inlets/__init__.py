"""Owns the ways in for those that are no dyno: syslog over TCP, TLS, UDP and local sockets; HTTP.

Must not know segments or readers. Frames are stored in batches, as they came; of each only what
routes it is looked at. Each way in has its limits, and everything that is not kept is counted.

In reading order: `bounds` (limits and counts), `framing` (bytes into runs of lines; pure),
`sorting` (runs into channels), `streams` (TCP, TLS, local streams), `packets` (UDP, local
datagrams), `bodies` (one request's frames; pure), `posts` (`POST /logs`), `places` (where to
listen), `doors` (all of them together).
"""
