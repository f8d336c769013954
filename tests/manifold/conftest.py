"""A stage for each test, over a database that was migrated once; `database` is of both kinds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.postgres import database, url

from .stage import Stage, Story, opened, play

__all__ = ["database", "url"]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "oriel.db"
    with opened(path):
        pass
    return path


class Play:
    """Tells stories, each on a stage of its own."""

    def __init__(self, root: Path, template: Path) -> None:
        self.root, self.template, self._count = root, template, 0

    def __call__(self, story: Story) -> Stage:
        self._count += 1
        return play(self.root / f"oriel-{self._count}.db", story, self.template)


@pytest.fixture
def told(tmp_path: Path, template: Path) -> Play:
    """Tell a story."""
    return Play(tmp_path, template)
