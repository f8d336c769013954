"""The `oriel` command: a user of the HTTP API like any other.

Owns commands, what they print and how they end. Must not know any room of the server; runs on
macOS and Windows too. Starting fast is a feature: `table` names each command by a string, and
nothing is imported that the command at hand does not need.

To read it: `main` (the door), `table` (all commands), `session` (which API, which app), `render`
and `ages` (tables and times), `terminal` (colour, width, what may be shown), `exits`, `options`,
`outcome` (the release that a change made), `repository` (git), `shellwords`, then `commands`.
"""
