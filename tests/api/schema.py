"""Heroku's published schema, to hold answers against. It stays beside the repository, never in it.

Where Oriel has to differ, it says so here: its addresses are not Heroku's, and its slugs are known
by the digest of their content.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator, FormatChecker

PATH = Path(__file__).parents[3] / "shared" / "heroku-platform-schema.json"

OWN = {
    ("app", "git_url"): {"type": "string"},
    ("app", "web_url"): {"type": "string"},
}


@cache
def _schema() -> dict[str, Any]:
    if not PATH.exists():
        pytest.skip("Heroku's platform schema is not beside the repository (../shared).")
    whole: dict[str, Any] = json.loads(PATH.read_text())
    for (noun, member), instead in OWN.items():
        whole["definitions"][noun]["properties"][member] = instead
    slug = whole["definitions"]["slug"]["definitions"]["id"]
    slug.pop("format", None)
    return whole


@cache
def _validator(noun: str) -> Draft4Validator:
    schema = {**_schema(), "$schema": "http://json-schema.org/draft-04/schema#"}
    schema["$ref"] = f"#/definitions/{noun}"
    return Draft4Validator(schema, format_checker=FormatChecker())


def missing(noun: str, value: dict[str, Any]) -> set[str]:
    """Members of the schema that an answer does not have."""
    return set(_schema()["definitions"][noun]["properties"]) - set(value)


def check(noun: str, value: Any) -> None:
    """Fail unless `value`, or each value of a list, is what Heroku calls a `noun`."""
    values = value if isinstance(value, list) else [value]
    assert values, f"there is no {noun} to look at"
    for each in values:
        problems = [
            f"{'/'.join(map(str, error.path))}: {error.message}"
            for error in _validator(noun).iter_errors(each)
        ]
        assert not problems, f"{noun}: {problems}"
