"""The kinds of release and their descriptions, as the seed words them."""

from __future__ import annotations

import pytest

from oriel.faults import Invalid
from oriel.ledger import State, drafts
from tests.ledger.world import PROCFILE, slug_of

SLUG = slug_of("app", "d706b4a" + "0" * 33)
HEAD = State(73, SLUG, "d706b4a", {"web": "old"}, {"A": "1"}, ("addon",), ("buildpack",))


def test_what_each_change_takes_along() -> None:
    deploy = drafts.deploy(HEAD, SLUG)
    assert (deploy.description, deploy.config, deploy.process_types, deploy.attachments) == (
        "Deploy d706b4a",
        {"A": "1"},
        None,
        ("addon",),
    )
    configure = drafts.configure(HEAD, {"B": "2"})
    assert (configure.slug, configure.process_types, configure.config) == (
        SLUG,
        {"web": "old"},
        {"A": "1", "B": "2"},
    )
    rollback = drafts.rollback(HEAD, None)
    assert (rollback.description, rollback.copy_of, rollback.config, rollback.buildpacks) == (
        "Rollback to v73",
        73,
        {"A": "1"},
        ("buildpack",),
    )
    assert drafts.rollback(HEAD, 70).copy_of == 70
    assert drafts.initial().description == "Initial release"
    assert drafts.deploy(drafts.NOTHING, SLUG).process_types is None
    assert SLUG.process_types == PROCFILE


@pytest.mark.parametrize(
    ("changes", "description"),
    [
        ({"FOO": "baz"}, "Config add FOO"),
        ({"FOO": "1", "BAR": "2"}, "Config add FOO, BAR"),
        ({"FOO": ""}, "Config add FOO"),
        ({"FOO": None}, "Config remove FOO"),
        ({"FOO": None, "BAR": None}, "Config remove FOO, BAR"),
        ({"FOO": "1", "BAR": None, "BAZ": "2"}, "Config add FOO, BAZ, remove BAR"),
    ],
)
def test_changes_of_config_in_words(changes: dict[str, str | None], description: str) -> None:
    assert drafts.configure(HEAD, changes).description == description


def test_no_change_of_config_is_a_sentence() -> None:
    with pytest.raises(Invalid, match="No config vars"):
        drafts.configure(HEAD, {})
