"""Owns apps, acts, slugs, releases with their config, and settings by app.

Must not know processes, HTTP or the wall clock. In reading order: `entry` (what a release is, and
the bytes it signs), `drafts` (the kinds of change), `releases` (their SQL: INSERT and SELECT),
`verify`, `diff`, `config`, `vault` (sealing and signing), `apps`, `acts`, `slugs`, `settings`,
`tables`.
"""

from oriel.ledger.acts import Act
from oriel.ledger.apps import App
from oriel.ledger.diff import Diff
from oriel.ledger.entry import Draft, Release, State
from oriel.ledger.settings import Scale
from oriel.ledger.slugs import Slug
from oriel.ledger.vault import Vault
from oriel.ledger.verify import Report

__all__ = ["Act", "App", "Diff", "Draft", "Release", "Report", "Scale", "Slug", "State", "Vault"]
