"""Owns log channels: what was said, by dynos, the platform and the router. Usable alone.

Must not know apps, users, releases' contents, SQL or HTTP. A line is never touched on the way in:
the unit of intake is the chunk that one read gives, and everything else is a cursor over what is
on disk. Only this room opens segments.

In reading order: `entry` (the index entry), `files` (exact reads and writes), `sources` (who
spoke), `segment` (two files being written), `seal` (a finished segment's manifest), `mark` (what a
power loss cannot take), `recovery` (the tail after a kill), `channel` (all of these as one
stream), `shelf` (all channels, their sync); `joiner` (records into lines), `view`, `lookback`,
`parts`, `sieve` and `matcher` (text and patterns), `cursor`, `timeline`, `history` (reading),
`feed` (tails that share), `glimpse` (what cannot be opened to be written), `frame` (RFC 5424),
`render`, `query`; the ways in and out: `intake` (dyno FIFOs), `datagrams`, `holding` and `losses`
(router lines), `session` (one reader), `server`, `wire`, `client`, `process`.
"""
