"""What the machine allows is tried out."""

from __future__ import annotations

import os

import pytest

from oriel.sandbox import capabilities

pytestmark = pytest.mark.real


def test_it_is_looked_up_and_said() -> None:
    found = capabilities.look()
    assert found.root == (os.geteuid() == 0 and found.staging == "root")
    assert bool(found.why) == (
        not (found.overlay and found.user_namespaces) or found.staging == "none"
    )


def test_without_bubblewrap_it_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    found = capabilities.look()
    assert not found.user_namespaces
    assert "bubblewrap is not installed: apt-get install bubblewrap" in found.why
