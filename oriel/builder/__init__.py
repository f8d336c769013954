"""Owns the way from a push to a slug: git, detection, builds, their records and transcripts.

Must not know releases, dynos or HTTP: what a push leads to is asked of who receives it.

Read in this order: `limits`; for a push `push` (its rules; pure), `manifest` (judging a commit;
pure), `git` (what git is told; pure), `client` and `exchange` (talking with the pusher and with
the hook), `repository` (the shell); for a build `procfile`, `recipe` (the values), `detect`,
`python`, `requirements`, `plain`, `interpreters`, `cache` (all pure but one look at the machine),
`tree` and `scales` (walking trees, in a child process), `transcript`, `shelf`, `builder` (the
shell); `bench` (running something in the sandbox, for both); `tables` and `builds` (records).
"""

from oriel.builder.builder import Builder, BuildRequest, BuiltSlug, Environment
from oriel.builder.builds import Build
from oriel.builder.exchange import Push
from oriel.builder.limits import Limits
from oriel.builder.push import RefUpdate
from oriel.builder.repository import Repositories
from oriel.builder.transcript import Transcript

__all__ = [
    "Build",
    "BuildRequest",
    "Builder",
    "BuiltSlug",
    "Environment",
    "Limits",
    "Push",
    "RefUpdate",
    "Repositories",
    "Transcript",
]
