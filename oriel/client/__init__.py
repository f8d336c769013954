"""Owns talking to an Oriel over HTTP. Must not know terminals, commands or tables.

Works on macOS and Windows too, and starts fast: nothing beyond `http.client` and `json`, and only
in the modules that need them. To read it: `address` (where), `refusal` (how it says no), `wire`
(one request, one answer), `stream` (lines that keep coming), `credentials` (what is remembered of
a login).
"""
