"""The doors: Heroku's Platform API, git over HTTP and log streams, on one port.

Owns HTTP: paths, bodies, headers, statuses and the JSON of every value that a user may see. It
translates and decides nothing: each call becomes one verb of `control`, each value one
representation, each fault one status. Must not know SQL, processes or files.

To read it: `app` (all of it put together), `guard` (what every request goes through), `doors` (a
call on its way to a verb), `auth`, `bodies`, `ranges`, `repeats` (what it is made of), `faults`
(the table of statuses), `representations` (values to JSON), `routes` (one module per noun),
`streams` (log sessions and other long answers), `git`.
"""
