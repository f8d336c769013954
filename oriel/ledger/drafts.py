"""Owns the kinds of release and their descriptions, as the seed words them. Pure.

Every draft begins from the state of the head, so that code, config and attachments that a change
does not touch come along.
"""

from __future__ import annotations

from collections.abc import Mapping

from oriel.faults import Invalid
from oriel.ledger.config import Key, apply
from oriel.ledger.entry import Draft, State
from oriel.ledger.slugs import Slug

COMMIT_SHOWN = 7

NOTHING = State(version=0, slug=None, commit="", process_types={}, config={})
"""The state before the first release."""


def initial() -> Draft:
    """`Initial release`: an app without code or config."""
    return Draft("initial", "Initial release", None, {})


def deploy(head: State, slug: Slug) -> Draft:
    """`Deploy d706b4a`: new code, everything else as it is."""
    return Draft(
        kind="deploy",
        description=f"Deploy {slug.commit[:COMMIT_SHOWN]}",
        slug=slug,
        config=head.config,
        attachments=head.attachments,
        buildpacks=head.buildpacks,
    )


def configure(head: State, changes: Mapping[Key, str | None]) -> Draft:
    """`Config add FOO, BAR` or `Config remove FOO`; raises Invalid for what cannot be."""
    return Draft(
        kind="config",
        description=describe_config(changes),
        slug=head.slug,
        config=apply(head.config, changes),
        commit=head.commit,
        process_types=head.process_types,
        attachments=head.attachments,
        buildpacks=head.buildpacks,
    )


def rollback(target: State, copy_of: int | None) -> Draft:
    """`Rollback to v73`: an exact copy of v73. `copy_of` is what v73 itself is a copy of."""
    return Draft(
        kind="rollback",
        description=f"Rollback to v{target.version}",
        slug=target.slug,
        config=target.config,
        copy_of=copy_of or target.version,
        commit=target.commit,
        process_types=target.process_types,
        attachments=target.attachments,
        buildpacks=target.buildpacks,
    )


def describe_config(changes: Mapping[Key, str | None]) -> str:
    """The description of a change of config: keys only, never a value."""
    if not changes:
        raise Invalid("No config vars were given.", hint="Name one, as in FOO=bar.")
    added = [key for key, value in changes.items() if value is not None]
    removed = [key for key, value in changes.items() if value is None]
    parts = [f"add {', '.join(added)}"] if added else []
    parts += [f"remove {', '.join(removed)}"] if removed else []
    return "Config " + ", ".join(parts)
