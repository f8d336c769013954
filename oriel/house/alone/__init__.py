"""Owns the commands of a log router that runs alone, without a platform: `oriel logplex`, and
those that speak to its socket. Must not know segments or frames.

`router` is the router itself, `door` how the others ask it; then a module a noun: `channels`,
`tokens`, `logs`, `drains`.
"""
