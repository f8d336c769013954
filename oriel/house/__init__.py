"""Owns putting the rooms together: settings, start and stop order, `oriel up`, `down`, `doctor`.

Must not know what any room does inside, and nobody imports it. In reading order: `settings`
(what was asked for), `layout` (where things lie), `processes` (who is who over a kill), `restarts`
(how soon again), `child` (one process kept running), `fifos` and `router_socket` (what must
outlive the others), `door` (up.sock), `preflight` (what can be known before), `supervisor` and
`up` (the shell), `keeper` (what stays behind), `probes` and `doctor`, `control` (the composition
root of the control process), `commands`.
"""
