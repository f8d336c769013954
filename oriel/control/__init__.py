"""The verbs: one free function for each thing a user can do.

Each verb authorises, appends act and release in one transaction, and wakes who must act. This is
the only room that knows many rooms; it must not know HTTP, HAProxy's language, git's protocol or
a pid. To read it: `world` (what a verb is given), `access` (who may), `record` (acts and their log
lines), `releasing` (how every release is made), `running` (the ledger's wish, carried to the
manifold and the router), then the verbs: `apps`, `config`, `releases`, `formation`, `dynos`,
`logs`, `deploy`, `accounts`. `shipper` carries the outbox to logplex; `recovery` finishes or
undoes what a kill interrupted.
"""
