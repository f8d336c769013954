"""What the tests of the house share: a short directory (sockets), a platform of stand-ins."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.platform import Platform, platform


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose path is short enough for Unix sockets, unlike pytest's own."""
    made = Path(tempfile.mkdtemp(prefix="oh-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def stage(short_path: Path) -> Iterator[Platform]:
    """A platform of stand-ins; nothing of it is left afterwards."""
    yield from platform(short_path / "data")
